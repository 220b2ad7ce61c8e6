/** A line of values without axes: how it went, at a glance. */
export function Spark({ values, warm = false }: { values: readonly (number | null)[]; warm?: boolean }) {
  const known = values.filter((value) => value !== null);
  if (known.length < 2) return null;
  const low = Math.min(...known);
  const span = Math.max(...known) - low || 1;
  const points = values
    .map((value, at) => (value === null ? "" : `${(96 * at) / (values.length - 1)},${24 - (20 * (value - low)) / span}`))
    .filter(Boolean);
  return (
    <svg class={warm ? "spark warm" : "spark"} viewBox="0 0 96 28" preserveAspectRatio="none" aria-hidden="true">
      <polyline points={points.join(" ")} />
    </svg>
  );
}
