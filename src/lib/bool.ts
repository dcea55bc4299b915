/** What Go's strconv.ParseBool takes. */
export function parseBool(text: string, fail: (why: string) => Error): boolean {
  if (/^(1|t|T|true|TRUE|True)$/.test(text)) return true;
  if (/^(0|f|F|false|FALSE|False)$/.test(text)) return false;
  throw fail(`strconv.ParseBool: parsing ${JSON.stringify(text)}: invalid syntax`);
}
