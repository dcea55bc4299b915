import type { Download } from "../../lib/lent.ts";
import type { Exchange, ResponseStream } from "../http/connection.ts";

/**
 * Sends a stream as the body. The first piece is awaited before the head, so that an early failure still gets its status code. The rest goes from whoever makes it to the client
 * directly, where both can.
 */
export async function sendBytes(exchange: Exchange, headers: Record<string, string>, source: Download): Promise<void> {
  const reader = source.getReader();
  try {
    const first = await reader.read();
    const stream = exchange.stream(200, headers);
    if (!first.done) {
      await stream.write(first.value);
      if (!(await poured(source, stream))) for (let next = await reader.read(); !next.done; next = await reader.read()) await stream.write(next.value);
    }
    stream.end();
  } catch (error) {
    await reader.cancel(error).catch(() => {});
    throw error;
  }
}

/** Whether the rest has gone to the client directly. */
async function poured({ pour }: Download, stream: ResponseStream): Promise<boolean> {
  const lent = pour === undefined ? undefined : stream.lend();
  if (lent === undefined) return false;
  try {
    await pour!(lent);
  } finally {
    lent.giveBack();
  }
  return true;
}
