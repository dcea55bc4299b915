export interface Challenge {
  /** Lower case: basic, bearer. */
  scheme: string;
  parameters: Record<string, string>;
}

const token = /^[!#$%&'*+.^_`|~0-9A-Za-z-]+/;
const quoted = /^"((?:[^"\\]|\\.)*)"/;
/** Longest header looked at. */
const maxLength = 16 * 1024;

/**
 * Parses WWW-Authenticate (RFC 9110, 11.6.1), several challenges in one header included. What doesn't parse ends the list: a registry's
 * header is hostile input and never throws.
 */
export function parseChallenges(header: string): Challenge[] {
  const challenges: Challenge[] = [];
  let rest = header.slice(0, maxLength).trimStart();
  while (rest !== "") {
    const scheme = token.exec(rest)?.[0];
    if (scheme === undefined) break;
    const challenge: Challenge = { scheme: scheme.toLowerCase(), parameters: Object.create(null) as Record<string, string> };
    challenges.push(challenge);
    rest = rest.slice(scheme.length).trimStart();
    rest = parseParameters(rest, challenge.parameters);
  }
  return challenges;
}

/** Takes `name=value` pairs until the next scheme; returns what follows. */
function parseParameters(text: string, into: Record<string, string>): string {
  let rest = text;
  for (;;) {
    rest = rest.replace(/^[\s,]+/, "");
    const name = token.exec(rest)?.[0];
    if (name === undefined) return "";
    const after = rest.slice(name.length).trimStart();
    if (!after.startsWith("=")) return rest;
    const value = after.slice(1).trimStart();
    const inQuotes = quoted.exec(value);
    const plain = inQuotes === null ? token.exec(value)?.[0] : undefined;
    if (inQuotes === null && plain === undefined) return "";
    into[name.toLowerCase()] = inQuotes === null ? plain! : inQuotes[1]!.replace(/\\(.)/g, "$1");
    rest = value.slice(inQuotes === null ? plain!.length : inQuotes[0].length);
  }
}
