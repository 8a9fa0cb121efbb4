"""From a file and the environment to validated, frozen settings; every mistake is named, none is ignored."""
