import { matchesWhole, type Step } from "../lib/wildcards.ts";

/** Whether a repository's name matches: `*` stands for any characters within a component, `**` for any at all. */
export function repositoryMatcher(pattern: string): (repository: string) => boolean {
  const steps: Step[] = [];
  for (let at = 0; at < pattern.length; at++) {
    const char = pattern[at]!;
    if (char !== "*") {
      steps.push({ one: (other) => other === char });
    } else if (pattern[at + 1] === "*") {
      steps.push({ many: () => true });
      at++;
    } else {
      steps.push({ many: (other) => other !== "/" });
    }
  }
  return (repository) => matchesWhole(steps, repository);
}
