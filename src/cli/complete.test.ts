import { expect, test } from "bun:test";
import { complete } from "./complete.ts";
import { createClient } from "../client/client.ts";

const nobody = async () => createClient({ host: "unix:///nowhere.sock" });

test("words, subcommands, flags and values", async () => {
  expect(await complete(["ru"], nobody)).toEqual(["run"]);
  expect(await complete([""], nobody)).toContain("container");
  expect(await complete(["container", "r"], nobody)).toEqual(["rename", "restart", "rm", "run"]);
  expect(await complete(["run", "--net"], nobody)).toEqual(["--network", "--network-alias"]);
  expect(await complete(["--log"], nobody)).toEqual(["--log-level"]);
  expect(await complete(["-H", "unix:///x", "ima"], nobody)).toEqual(["image", "images"]);
  expect(await complete(["run", "--pull", "a"], nobody)).toEqual(["always"]);
  expect(await complete(["run", "-v", ""], nobody)).toEqual([":file"]);
  expect(await complete(["load", ""], nobody)).toEqual([":file"]);
  expect(await complete(["nope", ""], nobody)).toEqual([]);
  await expect(complete(["rm", ""], nobody)).rejects.toThrow("Cannot connect");
});
