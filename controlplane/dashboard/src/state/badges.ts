/** The numbers beside the tabs' names; the tabs' own data set them. */
import { signal } from "@preact/signals";

export const badges = { waiting: signal(0), alerts: signal(0) };
