import { expect, test } from "bun:test";
import { applyChanges } from "./changes.ts";

test("what changes an image's configuration is taken, in any case", () => {
  expect(applyChanges({}, ['env A=1\nCMD ["x"]', "ONBUILD RUN y"])).toMatchObject({ Env: ["A=1"], Cmd: ["x"], OnBuild: ["RUN y"] });
});

test.each([
  ["FROM x", "FROM is not a valid change command"],
  ["RUN x", "RUN is not a valid change command"],
  ["NOPE x", "NOPE is not a valid change command"],
  ["ENV", "ENV requires at least one argument"],
])("%s is refused in Docker's words", (change, sentence) => {
  expect(() => applyChanges({}, [change])).toThrow(sentence);
});
