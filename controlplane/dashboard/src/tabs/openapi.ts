/** Reads our OpenAPI document into what the reference tab draws. */

export interface Schema {
  $ref?: string;
  type?: string | string[];
  anyOf?: Schema[];
  enum?: unknown[];
  const?: unknown;
  items?: Schema;
  properties?: Record<string, Schema>;
  additionalProperties?: Schema | boolean;
  required?: string[];
  description?: string;
  default?: unknown;
  format?: string;
  minimum?: number;
  maximum?: number;
  examples?: unknown[];
}
interface Operation {
  tags: string[];
  summary: string;
  parameters?: { name: string; in: string; required: boolean; description?: string; schema: Schema }[];
  requestBody?: { content: Record<string, { schema: Schema }> };
  responses: Record<string, { content?: Record<string, { schema: Schema }> }>;
  "x-gpuforge-scope"?: string;
}
interface Row {
  name: string;
  type: string;
  required: boolean;
  words: string;
}
export interface Endpoint {
  method: string;
  path: string;
  tag: string;
  summary: string;
  scope: string;
  parameters: Row[];
  body: Schema | null;
  answer: Schema | null;
  statuses: string[];
  /** It answers for as long as somebody listens. */
  streams: boolean;
}
export interface Document {
  endpoints: Endpoint[];
  schemas: Record<string, Schema>;
}

export function readDocument(given: unknown): Document {
  const document = given as { paths: Record<string, Record<string, Operation>>; components: { schemas: Record<string, Schema> } };
  const schemas = document.components.schemas;
  const endpoints = Object.entries(document.paths).flatMap(([path, operations]) =>
    Object.entries(operations).map(([method, operation]) => endpointOf(method.toUpperCase(), path, operation)),
  );
  return { endpoints, schemas };
}

function endpointOf(method: string, path: string, operation: Operation): Endpoint {
  const statuses = Object.keys(operation.responses).filter((status) => status !== "default");
  return {
    method,
    path,
    tag: operation.tags[0] ?? "",
    summary: operation.summary,
    scope: operation["x-gpuforge-scope"] ?? "",
    parameters: (operation.parameters ?? []).map((each) => ({
      name: each.name, type: words(each.schema), required: each.required, words: each.description ?? described(each.schema),
    })),
    body: operation.requestBody?.content["application/json"]?.schema ?? null,
    answer: operation.responses[statuses[0]]?.content?.["application/json"]?.schema ?? null,
    statuses,
    streams: Object.values(operation.responses).some((each) => !!each.content?.["text/event-stream"]),
  };
}

/** The fields of a body, those of objects in its arrays too: `gpus[].model`. */
export function fieldsOf(document: Document, schema: Schema, prefix = "", depth = 0): Row[] {
  const whole = resolve(document, schema);
  return Object.entries(whole.properties ?? {}).flatMap(([name, field]) => {
    const row = { name: prefix + name, type: words(field), required: !!whole.required?.includes(name), words: field.description ?? described(field) };
    const items = field.items && resolve(document, field.items);
    return items?.properties && depth < 2 ? [row, ...fieldsOf(document, items, `${prefix}${name}[].`, depth + 1)] : [row];
  });
}

/** A value that fits the schema; of a body only what is required, and what a reader wants to see. */
export function sample(document: Document, schema: Schema, needed = false, name = "", depth = 0): unknown {
  const whole = resolve(document, schema);
  if (whole.examples?.length) return whole.examples[0];
  if (whole.const !== undefined) return whole.const;
  if (whole.enum) return whole.enum[0];
  if (whole.anyOf) return sample(document, whole.anyOf[0], needed, name, depth);
  if (depth > 5) return null;
  const type = Array.isArray(whole.type) ? whole.type[0] : whole.type;
  if (type === "array") return whole.items ? [sample(document, whole.items, needed, name, depth + 1)] : [];
  if (type === "object") {
    const fields = Object.entries(whole.properties ?? {}).filter(([field]) => !needed || !!whole.required?.includes(field));
    return Object.fromEntries(fields.map(([field, its]) => [field, sample(document, its, needed, field, depth + 1)]));
  }
  return plain(type, whole, name);
}

const WORDS: Record<string, unknown> = {
  name: "us-east-prod", hostname: "gpu-01", label: "prod-metrics-ingestor", region: "us-east-1", model: "NVIDIA H100 80GB HBM3",
  utilization_pct: 87.3, temperature_c: 72.1, power_draw_w: 410.5, memory_used_mb: 71680, memory_total_mb: 81920, gpu_count: 8,
  gpu_quota: 16, gpus_in_use: 8, email: "billing@acme.ai", contact_email: "billing@acme.ai",
};

/** What such things are called, by the tag of the endpoint, where it is not a cluster. */
const NAMES: Record<string, string> = { "Tenant Management": "NovAI Labs", "Job Management": "llama-3-70b-finetune" };
/** A sample as text, with a name that fits what it is of. */
export const written = (value: unknown, tag: string, indent = 0): string =>
  JSON.stringify(value, (field, its) => (field === "name" && its === WORDS.name ? (NAMES[tag] ?? its) : its), indent);

function plain(type: string | undefined, schema: Schema, name: string): unknown {
  if (name in WORDS) return WORDS[name];
  if (type === "string") return schema.format === "date-time" ? "2026-05-09T00:30:00Z" : schema.format === "date" ? "2026-05-09" : "text";
  if (type === "integer") return Math.max(1, schema.minimum ?? 1);
  if (type === "number") return Math.max(1.5, schema.minimum ?? 0);
  return type === "boolean" ? false : null;
}

/** The curl line of an endpoint; `base` ends with a slash. */
export function curl(endpoint: Endpoint, body: unknown, base: string, bearer: string): string {
  const lines = [`curl${endpoint.method === "GET" ? "" : ` -X ${endpoint.method}`} -H "Authorization: Bearer ${bearer}"`];
  if (body !== undefined) lines.push(`-H "Content-Type: application/json"`, `-d '${written(body, endpoint.tag).replaceAll("'", "'\\''")}'`);
  const query = endpoint.parameters.some((each) => each.name === "days") ? "?days=30" : "";
  lines.push(`"${base}${endpoint.path.slice(1).replace(/{\w+}/g, "1")}${query}"`);
  return lines.join(" \\\n  ");
}

function resolve(document: Document, schema: Schema): Schema {
  return schema.$ref ? (document.schemas[schema.$ref.split("/").at(-1)!] ?? {}) : schema;
}

function words(schema: Schema): string {
  if (schema.$ref) return schema.$ref.split("/").at(-1)!;
  if (schema.enum) return schema.enum.join(" | ");
  if (schema.const !== undefined) return String(schema.const);
  if (schema.anyOf) return [...new Set(schema.anyOf.map(words))].filter((each) => each !== "null").join(" or ");
  const type = Array.isArray(schema.type) ? schema.type.filter((each) => each !== "null").join(" or ") : (schema.type ?? "any");
  if (type === "array") return `array of ${schema.items ? words(schema.items) : "any"}`;
  return schema.format === "date-time" ? "time" : type;
}

function described(schema: Schema): string {
  const inner = schema.anyOf?.[0] ?? schema;
  return inner.description ?? "";
}
