/** A whole number of more digits than a double holds, written digit by digit by JSON.stringify. */
export function jsonNumber(value: bigint): unknown {
  // in Bun, not yet in TypeScript's library
  return (JSON as unknown as { rawJSON(text: string): unknown }).rawJSON(value.toString());
}
