"""``palyra init``: a commented configuration to start from."""

from pathlib import Path
from typing import Annotated

import typer

from palyra.cli.output import CommandError, ExitCode, JsonOption, emit
from palyra.config.load import FILE_NAME

TEMPLATE = """\
# The configuration of Palyra. Unknown keys are errors. Check it with: palyra doctor
# Single values of the tables in single brackets can also come from the environment:
# PALYRA_SERVER_PORT=9000, PALYRA_GOVERNANCE_MODE=dry_run, PALYRA_ROUTING_RETRIES=0 ...

[server]
host = "127.0.0.1"                        # other machines: allow_remote = true, and TLS or a proxy
port = 8484                               # 0 picks a free port and prints it
database = "sqlite:///palyra.db"          # relative to where the daemon is started; four slashes: absolute
                                          # many gateways: postgresql://…, or env:NAME that holds the URL
# max_body_bytes = 33_554_432             # the largest request that is read
# allow_remote = true                     # needed for any host but loopback, together with either
# tls_cert = "/etc/palyra/cert.pem"       # ... a certificate (PEM)
# tls_key = "/etc/palyra/key.pem"         # ... and its key,
# behind_proxy = true                     # ... or a proxy in front that ends TLS
# allowed_hosts = ["llm.example.com"]     # names by which clients reach the daemon
# workers = 1                             # processes on this port; more than 1 needs PostgreSQL
# public_url = "https://llm.example.com"  # what people open; links in refusals begin with it

[scale]                                   # only with PostgreSQL: how gateways share the ledger
# name = "eu-1"                           # how people see this gateway; default: host and process id
# lease_s = 10                            # without a sign of life for so long it counts as dead
# slices = true                           # spend hot budgets in memory, from slices claimed ahead
# slice_s = 1.0                           # a slice is what is spent in so many seconds ...
# slice_share = 0.05                      # ... and at most this part of what is left
# spool = "/var/lib/palyra/spool"         # ends of calls that the database cannot take wait here

[retention]                               # only with PostgreSQL
# months: how many whole months of calls to keep, for example 24; sums stay for ever. Without it: all.

[auth]
# owner_key = "env:PALYRA_OWNER_KEY"      # without it the first start prints one, once

[governance]
mode = "enforced"                         # suggest: only tell | dry_run: tell what would happen | enforced
timezone = "UTC"                          # where days and months begin, for example "Europe/Prague"
unknown_price = "deny"                    # no price, but a money budget: deny | ceiling | allow
# default_model = "gpt-4o-mini"           # what the model name "auto" stands for: palyra models set MODEL

[routing]                                 # which model a call gets, and what happens when a provider fails
# smart = "auto"                          # whose choice is Palyra's: never | auto (who asks for it) | always
# candidates = "configured"               # among the models below, or all that the providers list: all
# sticky_s = 3600                         # a session keeps its model so long; 0: never
# failover = true                         # before the first byte, take a failed call up elsewhere
# retries = 2                             # again at the same provider, before that
# retry_base_s = 0.25                     # waits double from here ...
# retry_cap_s = 4.0                       # ... up to here
# retry_after_max_s = 10.0                # a longer Retry-After of a provider is not waited for
# breaker_failures = 5                    # so many failures in a row, and a provider is left alone ...
# breaker_open_s = 30.0                   # ... for so long, doubling ...
# breaker_open_max_s = 300.0              # ... up to here
# capacity_wait_s = 30.0                  # how long a call waits for room at its provider

[discovery]                               # asking the providers for their models
# ttl_s = 300.0                           # how long a list holds
# timeout_s = 5.0                         # how long a provider may take to give it
# health_ttl_s = 60.0                     # how long a connection test holds

[approvals]                               # calls that a budget stops until somebody lets them run
# expire_after_s = 86_400                 # how long a request can be decided
# pending_per_principal = 20              # requests that one principal may have open
# wait_max_s = 300                        # how long a call may be held for a decision (Prefer: wait=60)

[alerts]
# check_s = 30.0                          # seconds between two looks for what no call tells of

[console]
# session_hours = 12                      # how long a sign-in with a key holds

[notifications]                           # how messages about alerts are sent
# timeout_s = 10.0                        # how long one attempt may take
# concurrency = 2                         # attempts at a time, for each target

# Credentials are only pointed to: env:NAME or file:/path.
[[providers]]
id = "openai"
kind = "openai"                           # openai | anthropic | openai_compatible
base_url = "https://api.openai.com/v1"
credential = "env:OPENAI_API_KEY"

[[providers]]
id = "anthropic"
kind = "anthropic"
base_url = "https://api.anthropic.com/v1"
credential = "env:ANTHROPIC_API_KEY"

# A model server of your own: vLLM, llama.cpp, Ollama ... (http:// is accepted on loopback only)
# [[providers]]
# id = "local"
# kind = "openai_compatible"
# base_url = "http://127.0.0.1:8000/v1"
# total_timeout_s = 600                   # also: connect_timeout_s, first_byte_timeout_s, idle_timeout_s
# ca_file = "/etc/palyra/ca.pem"          # trusted besides the roots of the system
# enabled = true                          # false: it serves nothing and is not asked
# display_name = "House models"           # how people see it
# endpoints = ["chat_completions"]        # the wire formats it speaks, if not all of its kind
# discover = true                         # whether it is asked for its models
# concurrency = 8                         # calls in flight at it; those above wait for room
# credential_concurrency = 8              # ... with its credential, at whatever provider

# Models are found by asking the providers, and their prices come from the built-in price book
# (palyra prices list). Write down only what differs.
# [[models]]
# id = "house-model"                      # what clients ask for
# provider = "local"
# upstream_name = "qwen3-32b"             # what the provider is asked for
# role = "chat"                           # chat | embeddings | audio
# cost_tier = "low"                       # low | standard | premium
# latency_tier = "low"                    # low | standard | high
# context_window = 32_768                 # tokens
# output_limit = 8_192                    # tokens of one answer
# capabilities = ["tools", "json", "streaming"]
# enabled = true
# aliases = ["house"]                     # further names that clients may ask for
# fallbacks = ["gpt-4o-mini"]             # what to try instead, in this order
# price = { input = "0.15", output = "0.60", cache_read = "0.075" }   # USD per million tokens

# Negotiated prices; they win over the built-in ones.
# [[prices]]
# provider = "openai"
# model = "gpt-4o*"                       # a name, or a pattern with *
# valid_from = 2026-01-01T00:00:00Z
# input = "2.00"
# output = "8.00"
# source = "contract 2026-17"

# Budgets: all that match a call must have room. This one gives every principal 10 USD a day.
[[budgets]]
id = "each-principal-daily"
scope = "principal:*"                     # or global, agent:ID, session:ID, provider:ID, model:ID, tag:K=V
metric = "cost_usd"                       # cost_usd | total_tokens | input_tokens | output_tokens | requests
interval = "day"                          # request | hour | day | week | month | total
# timezone = "Europe/Prague"              # else that of [governance]
soft_limit = "8.00"                       # passed: the call runs and the caller is warned
hard_limit = "10.00"                      # never passed
action = "block"                          # block | approval_required | alert | degrade (to a cheaper model)
thresholds = [{ at = 0.8, then = "notify" }]

# [[budgets]]
# id = "bob-tokens"
# scope = "principal:bob"
# metric = "total_tokens"
# interval = "month"
# hard_limit = 5_000_000
# mode = "dry_run"                        # try it on live traffic first

# Who is told of alerts: chat, mail and many more through Apprise, programs through signed webhooks.
# [[notify]]
# id = "ops-chat"
# url = "env:OPS_CHAT_URL"                # an Apprise URL, such as slack://… or mailtos://…
# kinds = ["approval_pending", "budget_exhausted"]   # absent: all
# min_severity = "warning"                # info | warning | critical
# resolved = true                         # also when it is over

# [[notify]]
# id = "billing"
# webhook = "https://billing.example.com/palyra"
# secret = "env:BILLING_WEBHOOK_SECRET"   # signs each message; at least 16 bytes
# allow_private = false                   # true: the receiver may be within your own network

# Keys are made with: palyra keys create --principal NAME. A key that must be known beforehand
# is declared by its hash: printf %s "$KEY" | sha256sum
# [[keys]]
# id = "ci"
# sha256 = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
# principal = "ci-bot"
# agent = "nightly"                       # pinned: the client cannot say otherwise
# roles = ["caller"]                      # caller | viewer | operator | admin | owner
# models = ["gpt-4o-mini", "auto"]        # absent: every model
# tags = { team = "platform" }
"""


def init(
    path: Annotated[Path, typer.Argument(help="The file to write.")] = Path(FILE_NAME),
    force: Annotated[bool, typer.Option("--force", help="Overwrite the file if it is there.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Write a commented palyra.toml that works as it is."""
    target = path / FILE_NAME if path.is_dir() else path
    try:
        with target.open("w" if force else "x", encoding="utf-8") as file:
            file.write(TEMPLATE)
    except FileExistsError:
        hint = "give another path, or --force to overwrite it"
        raise CommandError(f"{target} is there already", ExitCode.PRECONDITION, hint=hint) from None
    except OSError as error:
        raise CommandError(f"{target} cannot be written: {error.strerror}", ExitCode.PRECONDITION) from None
    emit(
        {"path": str(target)},
        as_json=as_json,
        render=lambda console: console.print(
            f"Wrote {target}.\nNext: set OPENAI_API_KEY or ANTHROPIC_API_KEY (or both), "
            "then: palyra doctor, palyra serve.",
            markup=False,
            soft_wrap=True,
        ),
    )
