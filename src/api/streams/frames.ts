import type { StdStream } from "../../logs/types.ts";

/** Docker's multiplexed stream: 8 bytes of header (stream, 0, 0, 0, length as big-endian uint32), then the payload. */
export const mediaTypes = {
  raw: "application/vnd.docker.raw-stream",
  multiplexed: "application/vnd.docker.multiplexed-stream",
} as const;

const numbers = { stdin: 0, stdout: 1, stderr: 2, systemerr: 3 } as const;

/** One frame: what was read from the container in one go is sent in one go. In `memory`, where that is large enough. */
export function frame(stream: StdStream | "systemerr", payload: Uint8Array, memory?: Buffer): Buffer {
  const size = 8 + payload.length;
  const bytes = memory !== undefined && memory.length >= size ? memory.subarray(0, size) : Buffer.allocUnsafe(size);
  bytes.writeUInt32BE(numbers[stream] << 24, 0);
  bytes.writeUInt32BE(payload.length, 4);
  bytes.set(payload, 8);
  return bytes;
}

/** The content type of a container's streams: clients before 1.42 know the raw one only. */
export function contentType(tty: boolean, api: number): string {
  return !tty && api >= 42 ? mediaTypes.multiplexed : mediaTypes.raw;
}
