import { CliError } from "../errors.ts";

/** An address of either family as a number. Undefined if it is none. */
function addressBits(text: string): { value: bigint; bits: 32 | 128 } | undefined {
  if (/^\d{1,3}(?:\.\d{1,3}){3}$/.test(text)) {
    const bytes = text.split(".").map(Number);
    if (bytes.some((byte) => byte > 255)) return undefined;
    return { value: bytes.reduce((sum, byte) => (sum << 8n) | BigInt(byte), 0n), bits: 32 };
  }
  const halves = text.split("::");
  if (!/^[0-9a-fA-F:]+$/.test(text) || halves.length > 2) return undefined;
  const groups = (half: string | undefined): string[] => (half === undefined || half === "" ? [] : half.split(":"));
  const [head, tail] = [groups(halves[0]), groups(halves[1])];
  const missing = 8 - head.length - tail.length;
  if (halves.length === 1 ? missing !== 0 : missing < 1) return undefined;
  const all = [...head, ...Array.from({ length: missing }, () => "0"), ...tail];
  if (all.some((group) => !/^[0-9a-fA-F]{1,4}$/.test(group))) return undefined;
  return { value: all.reduce((sum, group) => (sum << 16n) | BigInt(`0x${group}`), 0n), bits: 128 };
}

export function isAddress(text: string): boolean {
  return addressBits(text) !== undefined;
}

/** Whether an address (or the first of a range in CIDR) lies in a subnet in CIDR. @throws CliError for what is neither */
export function subnetContains(subnet: string, address: string): boolean {
  const [base = "", length = ""] = subnet.split("/");
  const network = addressBits(base);
  const prefix = Number(length);
  if (network === undefined || !/^\d{1,3}$/.test(length) || prefix > network.bits)
    throw new CliError(`invalid subnet ${subnet}: want an address and a prefix length, such as 172.28.0.0/16`);
  const other = addressBits(address.split("/", 1)[0] as string);
  if (other === undefined) throw new CliError(`invalid IP address: ${address}`);
  if (other.bits !== network.bits) return false;
  const shift = BigInt(network.bits - prefix);
  return network.value >> shift === other.value >> shift;
}
