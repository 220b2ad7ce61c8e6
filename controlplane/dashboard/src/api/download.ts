import { exchange, type Arguments, type Loose, type Operation } from "./client";

/** Save an answer of the API as a file, in the form that `accept` names. Throws Problem. */
export async function download<O extends Operation>(operation: O, args: Arguments<O>, accept: string, name: string): Promise<void> {
  const response = await exchange(operation, args as Loose, { Accept: accept });
  const link = document.createElement("a");
  link.href = URL.createObjectURL(await response.blob());
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000); // the browser may still be reading
}
