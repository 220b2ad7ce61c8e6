/** A GET of any path of the API, as text: for the API reference's try-it. */
export async function rawGet(path: string, bearer: string): Promise<{ status: number; text: string; ms: number }> {
  const began = performance.now();
  const response = await fetch(path.replace(/^\//, ""), { headers: bearer ? { Authorization: `Bearer ${bearer}` } : {} });
  return { status: response.status, text: await response.text(), ms: performance.now() - began };
}
