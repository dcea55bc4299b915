import { readFileSync } from "node:fs";
import { join } from "node:path";

/** The code blocks of a page in docs/, without their fences. */
export function blocksOf(page: string): string[] {
  const text = readFileSync(join(import.meta.dir, "../docs", page), "utf8");
  return [...text.matchAll(/^```\w*\n(.*?)^```/gms)].map(([, block]) => block!);
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
