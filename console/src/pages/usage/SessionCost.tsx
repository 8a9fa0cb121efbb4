import type { TextProps } from "@mantine/core";
import type { UsageSessionItem } from "@/client";
import { Money } from "@/parts/Money";

/** The cost of a session; tokens that cost nothing had no price, and so their cost is not known. */
export function SessionCost({ session, ...text }: { session: UsageSessionItem } & TextProps) {
  const unknown = session.cost_nano_usd === 0 && session.input_tokens + session.output_tokens > 0;
  return (
    <Money
      nano={unknown ? null : session.cost_nano_usd}
      exact={unknown ? null : session.cost_usd}
      {...text}
    />
  );
}
