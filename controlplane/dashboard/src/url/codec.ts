/** Filters and places in the URL: one description of a tab's parameters reads and writes them. */

/** How one parameter reads from and writes to text. `read` answers undefined for what makes no sense. */
export interface Field<T> {
  read(text: string): T | undefined;
  write(value: T): string;
  initial: T;
}
export type Fields = Record<string, Field<unknown>>;
export type Values<F extends Fields> = { [N in keyof F]: F[N] extends Field<infer T> ? T : never };

/** Words without keys that were pasted among them: their prefix is left, which is shown in lists as well. */
export const withoutKeys = (words: string): string => words.replace(/(gfk_[0-9a-f]{8})[0-9a-f]+/g, "$1");

/** Words, such as a filter's. No key gets into an address, nor into the history, by way of them. */
export function text(initial = "", most = 200): Field<string> {
  return { read: (given) => (given.length <= most ? given : undefined), write: withoutKeys, initial };
}
export function oneOf<const T extends string>(choices: readonly T[], initial: NoInfer<T>): Field<T> {
  return { read: (given) => choices.find((choice) => choice === given), write: (value) => value, initial };
}
/** A whole number from 0 on, such as an id; null when there is none. */
export function whole(): Field<number | null> {
  return {
    read: (given) => (/^\d{1,15}$/.test(given) ? Number(given) : undefined),
    write: (value) => (value === null ? "" : String(value)),
    initial: null,
  };
}
export function flag(): Field<boolean> {
  return { read: (given) => (given === "1" ? true : undefined), write: (value) => (value ? "1" : ""), initial: false };
}
/** A column and a direction: `util` ascending, `-util` descending. */
export function order<const T extends string>(columns: readonly T[], initial: NoInfer<T> | `-${NoInfer<T>}`): Field<string> {
  return {
    read: (given) => ((columns as readonly string[]).includes(given.replace(/^-/, "")) ? given : undefined),
    write: (value) => value,
    initial,
  };
}

/** The values that a query string holds; what is missing or makes no sense has its initial value. */
export function parse<F extends Fields>(fields: F, search: string): Values<F> {
  const given = new URLSearchParams(search);
  return Object.fromEntries(
    Object.entries(fields).map(([name, field]) => {
      const found = given.get(name);
      const value = found === null ? undefined : field.read(found);
      return [name, value === undefined ? field.initial : value];
    }),
  ) as Values<F>;
}

/** The query string that holds these values, initial ones left out; "" or with its question mark. */
export function format<F extends Fields>(fields: F, values: Partial<Values<F>>): string {
  const written = new URLSearchParams();
  for (const [name, field] of Object.entries(fields)) {
    const value = (values as Record<string, unknown>)[name];
    if (value === undefined) continue;
    const text = field.write(value);
    if (text !== field.write(field.initial)) written.set(name, text);
  }
  return written.size ? `?${written}` : "";
}
