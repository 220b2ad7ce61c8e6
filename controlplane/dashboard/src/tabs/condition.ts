/** The words for what agents report of a GPU's condition. */
import type { FaultRecord, GpuHealth } from "../api/schema";

// NVIDIA's "XID Errors", those that people meet.
const XIDS: Record<number, string> = {
  13: "fault in a program's kernel", 31: "a program reached for memory that is not its own", 32: "broken command stream", 38: "firmware error",
  43: "a program was stopped after its error", 45: "a program was cut off", 48: "double-bit ECC error", 61: "internal microcontroller halted", 62: "internal microcontroller halted",
  63: "a memory row was marked for remapping", 64: "a memory row could not be remapped", 68: "video decoder error", 69: "fault in a program's kernel", 74: "NVLink error",
  79: "the GPU has fallen off the bus", 92: "many corrected ECC errors", 94: "contained ECC error", 95: "uncontained ECC error", 119: "the GPU's system processor does not answer", 120: "error of the GPU's system processor",
};
export const xidWords = (code: number): string => (XIDS[code] ? `${code} (${XIDS[code]})` : String(code));

const REASONS: Record<string, string> = {
  no_permission: "the agent may not open NVIDIA's devices", lost: "it was there, and is not any more", off_bus: "it has fallen off the bus", hung: "a call on it does not return",
  reader_died: "the process that reads it died", reset_required: "it needs a reset", driver_absent: "the driver is not loaded", driver_too_old: "the driver is too old",
  library_absent: "NVIDIA's management library is not installed", library_mismatch: "library and loaded driver differ in version: reboot, or reload the driver",
};
/** An agent's code for why there is no figure. */
export const reasonWords = (reason: string): string => REASONS[reason] ?? reason.replaceAll("_", " ");

/** What ends a fault. */
export function advice(fault: Pick<FaultRecord, "kind" | "code" | "needs_operator">): string {
  if (fault.needs_operator) return "Takes no job until an operator says that it is well: drain it, reset or replace it, then clear the fault.";
  if (fault.kind === "row_remap") return fault.code === "pending" ? "Ends when the GPU was reset." : "Ends when the card was replaced.";
  if (fault.kind === "recovery") return "Ends when the driver asks for nothing any more.";
  return "Ends by itself as soon as it can be read again.";
}

const SLOWED: Record<string, string> = {
  sw_power_cap: "its power limit", hw_slowdown: "the board's protection", sw_thermal: "heat", hw_thermal: "heat", hw_power_brake: "the power supply's brake", board_limit: "the board's limit", reliability: "its voltage limit", sync_boost: "the slowest of its group",
};
const NO_TROUBLE = new Set(["gpu_idle", "applications_clocks", "display_clock"]); // as somebody wants it

/** What is no fault and yet worth knowing, a sentence each. */
export function conditions(health: GpuHealth | null): string[] {
  if (!health) return [];
  const said: string[] = [];
  const slowed = [...new Set((health.throttle_reasons ?? []).filter((each) => !NO_TROUBLE.has(each)).map((each) => SLOWED[each] ?? each.replaceAll("_", " ")))];
  if (slowed.length) said.push(`Slowed down by ${slowed.join(" and ")}.`);
  const { pcie_width: width, pcie_width_max: widest } = health;
  if (width && widest && width < widest) said.push(`PCIe runs ${width} lanes wide of ${widest}.`);
  const { nvlink_links: links, nvlink_links_active: active } = health;
  if (links && active !== null && active !== undefined && active < links) said.push(`${active} of ${links} NVLinks are up.`);
  if (health.ecc_volatile_uncorrected) said.push(`${health.ecc_volatile_uncorrected} uncorrectable memory errors since its last reset.`);
  return said;
}
