/** What a quota means for a tenant, and where its month leads. */
import type { BudgetRecord, TenantRecord } from "../../api/schema";
import { counted, roughMoney } from "../../format";

/** What that quota would do: `room for 4 more GPUs`, `2 over: what runs goes on, new jobs wait`. */
export function effectOf(quota: number, inUse: number): string {
  if (!Number.isInteger(quota) || quota < 1) return "1 GPU at least";
  if (quota < inUse) return `${quota - inUse === -1 ? "1" : inUse - quota} over: what runs goes on, new jobs wait`;
  return quota === inUse ? "full: new jobs wait" : `room for ${counted(quota - inUse, "more GPU")}`;
}

/** `$812 of $1,000 spent; leads to $1,240 by the end of 2026-05, $240 over.` */
export function budgetWords(budget: BudgetRecord): string {
  const leads = `leads to ${roughMoney(budget.forecast)} by the end of ${budget.month}`;
  if (budget.budget === null) return `${roughMoney(budget.spent)} spent this month; ${leads}.`;
  const over = budget.forecast - budget.budget;
  return `${roughMoney(budget.spent)} of ${roughMoney(budget.budget)} spent; ${leads}${over > 0 ? `, ${roughMoney(over)} over` : ""}.`;
}

/** Percent of its quota. */
export const shareOf = (tenant: TenantRecord): number => (100 * tenant.gpus_in_use) / tenant.gpu_quota;
