import { expect, test } from "bun:test";
import { captured } from "../../../test/terminal.ts";
import { writeList, type ListFormat } from "./output.ts";
import { formatTable } from "./table.ts";

test("columns are as wide as their widest cell and three more, ten at the least; the last isn't padded", () => {
  expect(
    formatTable([
      ["A", "LONG HEADING", "C"],
      ["x", "y", "z"],
    ]),
  ).toBe("A         LONG HEADING   C\nx         y              z\n");
  expect(formatTable([["日本", "B"]])).toBe("日本      B\n");
});

test("a table that is too wide for the terminal loses from the columns that may shrink, never below the narrowest column", () => {
  const rows = [
    ["ID", "COMMAND", "NAMES"],
    ["0123456789ab", "a".repeat(40), "web"],
  ];
  const cut = formatTable(rows, { width: 50, shrinkable: [1] });
  expect(Math.max(...cut.split("\n").map((line) => line.length))).toBeLessThanOrEqual(50);
  expect(cut).toContain("a…");
  expect(formatTable(rows, { width: 5, shrinkable: [1] })).toContain("aaaaaa…   web");
  expect(formatTable(rows, { width: 0, shrinkable: [1] })).toContain("a".repeat(40));
});

const spec: ListFormat = { headings: { ID: "ID", Names: "NAMES", CreatedAt: "CREATED AT" }, columns: ["ID", "Names"], shrinkable: ["Names"], quiet: "ID" };
const rows = () => [{ ID: "1", Names: "web", CreatedAt: "now", Label: (name: unknown) => `<${String(name)}>` }];

async function list(format: string, options: { quiet?: boolean; columns?: number } = {}): Promise<string> {
  const io = captured({ columns: options.columns });
  await writeList(io.out, rows(), spec, { format, quiet: options.quiet });
  return io.stdout();
}

test("lists print a table, json, a template or ids", async () => {
  expect(await list("")).toBe("ID        NAMES\n1         web\n");
  expect(await list("json")).toBe('{"CreatedAt":"now","ID":"1","Names":"web"}\n');
  expect(await list("{{json .}}")).toBe('{"CreatedAt":"now","ID":"1","Names":"web"}\n');
  expect(await list("x {{json .}}")).toBe('x {"CreatedAt":"now","ID":"1","Names":"web"}\n');
  expect(await list("{{.Names}}\\t{{.ID}}")).toBe("web\t1\n");
  expect(await list('table {{.Names}}\\t{{.Label "com.x-y"}}\\t{{.CreatedAt}}')).toBe(
    "NAMES     x y        CREATED AT\nweb       <com.x-y>   now\n".replace("x y        ", "x y         "),
  );
  expect(await list("", { quiet: true })).toBe("1\n");
  expect(await list("{{.Names}}", { quiet: true })).toBe("web\n");
  await expect(list("{{.Nope}}")).rejects.toThrow("Nope");
});
