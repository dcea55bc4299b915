import { readFileSync } from "node:fs";
import { join } from "node:path";

/** The code blocks of a page in docs/, without their fences; those of one language where it is named. */
export function blocksOf(page: string, language?: string): string[] {
  const text = readFileSync(join(import.meta.dir, "../docs", page), "utf8");
  return [...text.matchAll(/^```(\w*)\n(.*?)^```/gms)].flatMap(([, of, block]) => (language === undefined || of === language ? [block!] : []));
}

/** The lines of a page's scripts. */
export const examplesOf = (page: string): string[] => blocksOf(page, "sh").flatMap((block) => block.trim().split("\n"));

/** What a page shows of a command's output, by lines. */
export function outputOf(page: string, command: string): string[] {
  const [, ...lines] = blocksOf(page)
    .find((block) => block.startsWith(`$ ${command}\n`))!
    .trim()
    .split("\n");
  return lines;
}

/** Arguments of the commands that a page shows of `program`, without comments and prompts. */
export function commandsOf(page: string, program: string): string[][] {
  const lines = blocksOf(page).flatMap((block) => block.split("\n"));
  const words = lines.map((line) =>
    line
      .replace(/\s+#.*/, "")
      .replace(/^\$ /, "")
      .split(/ +/),
  );
  return words.filter(([first]) => first === program).map(([, ...args]) => args);
}
