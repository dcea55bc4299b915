/** Longest line of a JSON stream: pull, build and events send short ones, so more than this is no engine. */
const maxLine = 16 * 1024 * 1024;

/** Decodes JSON values, one a line; blank lines are skipped. @throws SyntaxError for a line that is not JSON */
export async function* jsonLines<T>(stream: AsyncIterable<Uint8Array>): AsyncGenerator<T, void, undefined> {
  const decoder = new TextDecoder();
  let rest = "";
  for await (const chunk of stream) {
    rest += decoder.decode(chunk, { stream: true });
    let from = 0;
    for (let eol = rest.indexOf("\n"); eol >= 0; eol = rest.indexOf("\n", from)) {
      const line = rest.slice(from, eol).trim();
      from = eol + 1;
      if (line !== "") yield JSON.parse(line) as T;
    }
    rest = rest.slice(from);
    if (rest.length > maxLine) throw new Error("the engine sent a line of more than 16 MiB");
  }
  rest += decoder.decode();
  if (rest.trim() !== "") yield JSON.parse(rest) as T;
}

/** Stream of a frame: 0 and 1 are stdout, 2 is stderr, 3 an error of the engine. */
export type FrameStream = 0 | 1 | 2 | 3;

/**
 * Splits Docker's multiplexed stream (8-byte heads: stream, 0, 0, 0, big-endian length) and passes payloads on as they arrive, parts of a frame
 * included, so that no frame is held in memory. `sink` is awaited.
 */
export async function demultiplex(input: AsyncIterable<Uint8Array>, sink: (stream: FrameStream, payload: Uint8Array) => Promise<void> | void): Promise<void> {
  const head = new Uint8Array(8);
  let have = 0;
  let left = 0;
  for await (const chunk of input) {
    for (let at = 0; at < chunk.length;) {
      if (left === 0) {
        const take = Math.min(8 - have, chunk.length - at);
        head.set(chunk.subarray(at, at + take), have);
        have += take;
        at += take;
        if (have < 8) break;
        have = 0;
        if ((head[0] as number) > 3) throw new Error(`the engine's stream has a frame of unknown kind ${head[0]}`);
        left = new DataView(head.buffer).getUint32(4);
        continue;
      }
      const payload = chunk.subarray(at, Math.min(at + left, chunk.length));
      left -= payload.length;
      at += payload.length;
      await sink(head[0] as FrameStream, payload);
    }
  }
  if (have > 0 || left > 0) throw new Error("the engine's stream ended inside a frame");
}
