/** The first socket with a path that an address (`unix:path=…;…`) names. */
export function busPath(address: string): string | undefined {
  for (const each of address.split(";")) {
    if (!each.startsWith("unix:")) continue;
    const path = /(?:^|,)path=([^,]+)/.exec(each.slice("unix:".length))?.[1];
    if (path !== undefined) return path.replace(/%([0-9a-f]{2})/gi, (_, hex: string) => String.fromCharCode(Number.parseInt(hex, 16)));
  }
  return undefined;
}
