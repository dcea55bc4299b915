import { expect, test } from "bun:test";
import { maskCredentials } from "./mask.ts";

test.each([
  ["", ""],
  ["http://proxy.example:3128", "http://proxy.example:3128"],
  ["http://me:hunter2@proxy.example:3128/", "http://xxxxx:xxxxx@proxy.example:3128/"],
  ["http://token@proxy.example:3128/", "http://xxxxx:xxxxx@proxy.example:3128/"],
  ["proxy.example", "proxy.example"],
])("%s is shown as %s", (address, shown) => expect(maskCredentials(address)).toBe(shown));
