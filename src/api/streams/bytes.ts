import type { Download } from "../../lib/lent.ts";
import type { Exchange } from "../http/connection.ts";

/**
 * Sends a stream as the body. The first piece is awaited before the head, so that an early failure still gets its status code. The rest goes from whoever makes it to the client
 * directly, where both can.
 */
export async function sendBytes(exchange: Exchange, headers: Record<string, string>, source: Download): Promise<void> {
  const reader = source.getReader();
  try {
    let next = await reader.read();
    const stream = exchange.stream(200, headers);
    if (!next.done && source.pour !== undefined) {
      await stream.write(next.value);
      const lent = stream.lend();
      if (lent === undefined) next = await reader.read();
      else {
        try {
          await source.pour(lent);
        } finally {
          lent.giveBack();
        }
        next = { done: true, value: undefined };
      }
    }
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
