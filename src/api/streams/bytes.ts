import type { Exchange } from "../http/connection.ts";

/** Sends a stream as the body. The first piece is awaited before the head, so that an early failure still gets its status code. */
export async function sendBytes(exchange: Exchange, headers: Record<string, string>, source: ReadableStream<Uint8Array>): Promise<void> {
  const reader = source.getReader();
  try {
    let next = await reader.read();
    const stream = exchange.stream(200, headers);
    while (!next.done) {
      await stream.write(next.value);
      next = await reader.read();
    }
    stream.end();
  } catch (error) {
    await reader.cancel(error).catch(() => {});
    throw error;
  }
}
