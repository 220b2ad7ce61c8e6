/** The colours that carry meaning. Cool = load, warm = a human is needed; shape doubles colour. */

export type Theme = "dark" | "light";

export interface Palette {
  /** Load from 0 to 100 %. */
  ramp: string[];
  /** Allocated but idle: a hollow ring. */
  idle: string;
  /** A fault: a solid cell. */
  fault: string;
  /** Taken out of service, or silent: a dash. */
  drained: string;
  /** Load that nobody could read. */
  unknown: string;
}

export const PALETTES: Record<Theme, Palette> = {
  dark: {
    ramp: ["#1b2333", "#1d3a66", "#1f66a0", "#2f9bc6", "#84d0e8", "#f0fbff"],
    idle: "#ffb02e", fault: "#ff5436", drained: "#55617a", unknown: "#2a3040",
  },
  light: {
    ramp: ["#e6ebf2", "#b7d7ea", "#63b0d8", "#2478b2", "#0d4478", "#061c38"],
    idle: "#e08600", fault: "#a3122a", drained: "#93a0b4", unknown: "#d3d9e2",
  },
};

/** Tenants on the map: told apart by hue and lightness; the ninth begins anew. */
export const TENANTS: Record<Theme, string[]> = {
  dark: ["#58b4e0", "#b690f5", "#4fcf9b", "#e58fc0", "#d8d26a", "#7f9cf5", "#c9a17f", "#9fd8d2"],
  light: ["#1769a8", "#7440c4", "#0b7d55", "#b02f7d", "#7d7400", "#3a4fc0", "#85552b", "#197f86"],
};

export type Rgb = [number, number, number];

export function rgb(hex: string): Rgb {
  return [1, 3, 5].map((at) => parseInt(hex.slice(at, at + 2), 16)) as Rgb;
}

/** `steps` colours along the stops, as CSS colours. */
export function shades(stops: string[], steps: number): string[] {
  const points = stops.map(rgb);
  return Array.from({ length: steps }, (_, k) => {
    const x = (k / (steps - 1)) * (points.length - 1);
    const from = Math.min(points.length - 2, Math.floor(x));
    const mixed = points[from].map((a, c) => Math.round(a + (points[from + 1][c] - a) * (x - from)));
    return `rgb(${mixed.join(",")})`;
  });
}
