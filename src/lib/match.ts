/** `key` or `key=value` of a label filter. */
export function hasLabel(labels: Readonly<Record<string, string>>, filter: string): boolean {
  const at = filter.indexOf("=");
  const key = at < 0 ? filter : filter.slice(0, at);
  return Object.hasOwn(labels, key) && (at < 0 || labels[key] === filter.slice(at + 1));
}

const LONGEST_PATTERN = 256;
/** Some tens of milliseconds. */
const MOST_STEPS = 2e7;

/**
 * A regular expression of a client's that can't stop the event loop: JavaScript's engine backtracks, Go's doesn't. Undefined for one that is
 * none or repeats a group. Where a text is too long for the repetitions in the pattern, that is looked for literally.
 */
export function clientPattern(given: string): ((text: string) => boolean) | undefined {
  // Go's way to write flags; JavaScript has them beside the pattern
  const [, flags = "", pattern = given] = /^\(\?([ims]+)\)(.*)$/s.exec(given) ?? [];
  if (pattern.length > LONGEST_PATTERN || /\)[*+?{]/.test(pattern)) return undefined;
  const repetitions = (pattern.match(/[*+{]/g) ?? []).length;
  const options = (pattern.match(/\?/g) ?? []).length;
  let expression: RegExp;
  try {
    expression = new RegExp(pattern, flags);
  } catch {
    return undefined;
  }
  return (text) => {
    // each repetition may end at any character, each `?` may be there or not, and the search may start anywhere
    const steps = (text.length + 1) ** (repetitions + 1) * 2 ** options;
    return steps > MOST_STEPS ? text.includes(pattern) : expression.test(text);
  };
}
