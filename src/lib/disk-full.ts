/** Whether an error of the kernel, of node's fs or of SQLite, or one caused by such, says that the disk (or a quota) is full: the user's to mend, and worth a sentence. */
export function isDiskFull(error: unknown): boolean {
  for (let each = error as { code?: unknown; cause?: unknown } | null | undefined; each != null; each = each.cause as typeof each) {
    if (each.code === "ENOSPC" || each.code === "EDQUOT" || each.code === "SQLITE_FULL") return true;
  }
  return false;
}
