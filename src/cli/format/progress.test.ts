import { expect, test } from "bun:test";
import type { ProgressLine } from "../../client/types.ts";
import { captured } from "../../../test/terminal.ts";
import type { CliError } from "../errors.ts";
import { lineText, showProgress } from "./progress.ts";

async function* lines(...items: ProgressLine[]): AsyncGenerator<ProgressLine> {
  yield* items;
}

test("without a terminal changes of status are lines and bars are left out", async () => {
  const io = captured();
  await showProgress(
    lines(
      { status: "Pulling from library/x", id: "latest" },
      { status: "Downloading", id: "aa", progressDetail: { current: 5, total: 10 } },
      { status: "Download complete", id: "aa", progressDetail: {} },
      { stream: "Step 1/1 : FROM x\n" },
      { stream: "\x1b[91merr\n\x1b[0m" },
      { status: "Digest: sha256:x" },
    ),
    io.out,
  );
  expect(io.stdout()).toBe("latest: Pulling from library/x\naa: Download complete\nStep 1/1 : FROM x\nerr\nDigest: sha256:x\n");
});

test("on a terminal each id keeps its line", async () => {
  const io = captured({ columns: 80 });
  await showProgress(
    (async function* (): AsyncGenerator<ProgressLine> {
      yield { status: "Waiting", id: "aa" };
      yield { status: "Waiting", id: "bb" };
      await Bun.sleep(80);
      yield { status: "Done", id: "aa" };
    })(),
    io.out,
  );
  expect(io.stdout()).toBe("\raa: Waiting\x1b[K\n\rbb: Waiting\x1b[K\n\x1b[2A\raa: Done\x1b[K\x1b[2B\r");
});

test("a line never wraps, whatever the terminal's width", () => {
  const line = { id: "0123456789ab", status: "Downloading", progressDetail: { current: 1_200_000, total: 3_400_000 } };
  for (const columns of [20, 40, 60, 80, 200]) expect(lineText(line, columns).length).toBeLessThan(columns);
  expect(lineText(line, 100)).toMatch(/^0123456789ab: Downloading \[=+> +\] {4}1\.2MB\/3\.4MB$/);
  expect(lineText({ ...line, progressDetail: { current: 5, total: 0 } }, 80)).toBe("0123456789ab: Downloading       5B");
});

test("an error ends it, with its own exit code", async () => {
  const io = captured();
  const failing = showProgress(lines({ stream: "RUN false\n" }, { error: "x", errorDetail: { code: 7, message: "the command returned 7" } }), io.out);
  await expect(failing).rejects.toThrow("the command returned 7");
  expect(await failing.catch((error: CliError) => error.exitCode)).toBe(7);
  await expect(showProgress(lines({ error: "pull access denied" }), io.out)).rejects.toThrow("pull access denied");
});
