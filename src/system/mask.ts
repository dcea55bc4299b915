/** A proxy's address without its user and password, as dockerd shows it. */
export function maskCredentials(address: string): string {
  const url = URL.parse(address);
  if (url === null || (url.username === "" && url.password === "")) return address;
  url.username = "xxxxx";
  url.password = "xxxxx";
  return url.href;
}
