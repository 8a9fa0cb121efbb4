import { Text, type TextProps, Tooltip } from "@mantine/core";

const ZONE = Intl.DateTimeFormat().resolvedOptions().timeZone;
const MOMENT = new Intl.DateTimeFormat("en-GB", {
  day: "2-digit",
  month: "short",
  hour: "2-digit",
  minute: "2-digit",
});
const WITH_YEAR = new Intl.DateTimeFormat("en-GB", {
  day: "2-digit",
  month: "short",
  year: "numeric",
  hour: "2-digit",
  minute: "2-digit",
});

/** A time on the reader's clock: `24 Nov, 14:05`, with the year if it is another one. */
export function momentText(at: string): string {
  const date = new Date(at);
  return (date.getFullYear() === new Date().getFullYear() ? MOMENT : WITH_YEAR).format(date);
}

/** A time on the reader's clock; as the API says it, in UTC, on hover. */
export function When({ at, ...text }: { at: string | null | undefined } & TextProps) {
  if (!at) {
    return (
      <Text span inherit={text.size === undefined} {...text}>
        –
      </Text>
    );
  }
  return (
    <Tooltip label={`${at} (shown in ${ZONE})`} openDelay={300}>
      <Text span inherit={text.size === undefined} className="nowrap" {...text}>
        <time dateTime={at}>{momentText(at)}</time>
      </Text>
    </Tooltip>
  );
}

/** The time zone of the reader's browser, such as `Europe/Prague`. */
export function ownZone(): string {
  return ZONE;
}
