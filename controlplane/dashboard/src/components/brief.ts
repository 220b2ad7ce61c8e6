/** What the control plane says, without what stands beside it already or is for machines. */
import type { EventRecord } from "../api/schema";

/** A job's reason: `WAITING_CAPACITY: needs 4 GPUs; 1 of 8 idle` without the code. */
export const plain = (reason: string): string => reason.replace(/^[A-Z][A-Z_]+: */, "");

/** The same words with the tenant's name in place of `tenant 7`. */
export function named(words: string, tenants: readonly { id: number; name: string }[] | null): string {
  return words.replace(/\btenant (\d+)\b/g, (given, id: string) => tenants?.find((each) => each.id === Number(id))?.name ?? given);
}

/** An alert's message: `tenant Acme uses 4 of 4` as `uses 4 of 4`, `GPUs of cluster lab were …` as `GPUs were …`, `GPU gpu-01/3 has a fault: Xid 79` as `GPU 3: Xid 79`. */
export function brief({ subject_type: type, subject, message }: Pick<EventRecord, "subject_type" | "subject" | "message">): string {
  const name = `${type} ${subject}`;
  if (message.startsWith(`${name} `)) return message.slice(name.length + 1);
  const fault = `GPU ${subject} has a fault: `;
  if (message.startsWith(fault)) return `GPU ${subject.slice(subject.lastIndexOf("/") + 1)}: ${message.slice(fault.length)}`;
  return message.replace(` of ${name} `, " ");
}
