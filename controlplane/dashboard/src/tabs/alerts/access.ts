/** Who may change what is watched. */
import { may, who } from "../../api/session";

/** Rules and silences are the operators' to change. */
export const mayWatch = (): boolean => may("write") && who.value?.kind === "key";
/** Where notifications go needs an admin key. */
export const mayRoute = (): boolean => may("admin") && who.value?.kind === "key";
