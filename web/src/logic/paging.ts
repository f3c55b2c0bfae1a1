// A list of any length that comes page by page, of which only the pages that are looked at are asked for again: which row is on which page, and
// which pages a part of the list needs. A page is known by its token; the token of the next one comes with it.

interface Known {
  token: string
  /** Rows on it; undefined: not read yet. */
  count: number | undefined
}

export class PageBook {
  private pages: Known[] = [{ token: '', count: undefined }]

  /** A page was read, for the first time or again. A list that changed meanwhile has other pages from there on, which are read when they are looked at. */
  take(token: string, count: number, next: string): void {
    const at = this.pages.findIndex((page) => page.token === token)
    if (at < 0) return
    this.pages[at] = { token, count }
    if (next === '') this.pages.length = at + 1
    else {
      const known = this.pages[at + 1]
      if (known?.token !== next) this.pages[at + 1] = { token: next, count: known?.count }
    }
  }

  /** Rows that are known to be there. */
  get length(): number {
    return this.pages.reduce((sum, page) => sum + (page.count ?? 0), 0)
  }

  /** Nothing comes after what is known. */
  get whole(): boolean {
    return this.pages.every((page) => page.count !== undefined)
  }

  /** Page and place on it of a row; undefined beyond the end. */
  find(row: number): { token: string; place: number } | undefined {
    let rest = row
    for (const page of this.pages) {
      if (page.count === undefined) return undefined
      if (rest < page.count) return { token: page.token, place: rest }
      rest -= page.count
    }
    return undefined
  }

  /** Tokens of the pages with rows `first` to `last`, and of the next unread one when the list's known end is among them. */
  needed(first: number, last: number): string[] {
    const tokens: string[] = []
    let start = 0
    for (const page of this.pages) {
      if (page.count === undefined) {
        if (start <= last) tokens.push(page.token)
        return tokens
      }
      if (page.count > 0 && start <= last && start + page.count > first) tokens.push(page.token)
      start += page.count
    }
    return tokens
  }
}
