// What axe finds in a page of a test: all but colours and sizes, which only a browser has (web/e2e/walk.mjs looks at those).
import axe from 'axe-core'

const TAGS = ['wcag2a', 'wcag2aa', 'wcag21aa', 'wcag22aa']

/** One line for each violation; none: []. */
export async function violations(): Promise<string[]> {
  const found = await axe.run(document.body, { runOnly: TAGS, rules: { 'color-contrast': { enabled: false }, 'target-size': { enabled: false } } })
  return found.violations.map((one) => `${one.id}: ${one.nodes[0]?.html.slice(0, 300)}`)
}
