import { Badge, Group, Text, Tooltip } from "@mantine/core";
import { whole } from "@/parts/amounts";
import { Money } from "@/parts/Money";

/** A cost, and loudly how many calls are in none because their price is not known. */
export function Spend({
  sums,
}: {
  sums: { cost_nano_usd: number; cost_usd: string; requests: number; unpriced: number };
}) {
  const none = sums.requests > 0 && sums.unpriced === sums.requests;
  return (
    <Group gap={6} wrap="nowrap" justify="flex-end">
      {none ? (
        <Text span inherit>
          –
        </Text>
      ) : (
        <Money nano={sums.cost_nano_usd} exact={sums.cost_usd} fw={600} />
      )}
      {sums.unpriced > 0 && (
        <Tooltip label="Their price is not known: they are in no cost. Set one, and calls from then on have it.">
          <Badge size="sm" miw="max-content" variant="light" color="orange" tt="none" radius="sm">
            {none ? "" : "+ "}
            {whole(sums.unpriced)} unpriced
          </Badge>
        </Tooltip>
      )}
    </Group>
  );
}
