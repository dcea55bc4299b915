/** One finding of a check, with what was done about it and what can be. */
export function problemText(problem: string, { repaired, next }: { repaired?: string; next?: string }): string {
  return [problem, ...(repaired === undefined ? [] : [`  repaired: ${repaired}`]), ...(next === undefined ? [] : [`  next: ${next}`]), ""].join("\n");
}

/** `1 image`, `2 images`. */
export const count = (number: number, what: string): string => `${number} ${what}${number === 1 ? "" : "s"}`;
