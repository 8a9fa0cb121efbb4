/** The mark of Palyra. */
export function Logo({ size = 26 }: { size?: number }) {
  return <img src="/console/palyra.svg" width={size} height={size} alt="" />;
}
