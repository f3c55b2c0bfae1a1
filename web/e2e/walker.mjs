// What the walks through the dashboard have in common: a browser in which every page is looked at with axe, whose complaints are failures, and
// which asks whoever started it for what it can't do itself. One line of JSON for each step, or wish, on standard output.
import { AxeBuilder } from '@axe-core/playwright'
import { chromium } from 'playwright-core'
import { createInterface } from 'node:readline'

const TAGS = ['wcag2a', 'wcag2aa', 'wcag21aa', 'wcag22aa']

const say = (object) => process.stdout.write(`${JSON.stringify(object)}\n`)
const answers = createInterface({ input: process.stdin })[Symbol.asyncIterator]()

/** Has `what` done, and returns what is said of it. */
export async function ask(what) {
  say({ ask: what })
  const { value } = await answers.next()
  return value
}

/** `shots`: folder of the pictures. */
export async function openBrowser(address, shots) {
  const browser = await chromium.launch({ executablePath: '/usr/bin/chromium', args: ['--no-sandbox'] })
  // The daemon's certificate is of its own authority.
  const context = await browser.newContext({ viewport: { width: 1280, height: 860 }, ignoreHTTPSErrors: true })
  const page = await context.newPage()
  page.setDefaultTimeout(20_000)
  // What the browser complains of: violations of the content policy, exceptions. Answers that aren't good are told by the pages themselves.
  let complaints = []
  page.on('console', (message) => {
    if (message.type() === 'error' && !message.text().startsWith('Failed to load resource')) complaints.push(message.text())
  })
  page.on('pageerror', (error) => complaints.push(error.message))
  page.on('request', (request) => {
    if (!request.url().startsWith(address) && !request.url().startsWith('data:')) complaints.push(`asks for ${request.url()}`)
  })

  /** `whole`: also what one would have to scroll to. */
  async function look(name, whole = false) {
    await page.waitForTimeout(400) // what is loaded last has come
    await page.screenshot({ path: `${shots}/${name}.png`, fullPage: whole })
    const { violations } = await new AxeBuilder({ page }).withTags(TAGS).analyze()
    if (violations.length > 0) throw new Error(violations.map((found) => `axe: ${found.id}: ${found.nodes[0]?.html.slice(0, 200)}`).join('\n'))
  }

  /** Runs the steps in order; after one that failed the rest, which builds on it, isn't tried. Ends the program. */
  async function run(steps) {
    for (const [step, does] of Object.entries(steps)) {
      const start = performance.now()
      let failure
      let broken = false
      complaints = []
      try {
        await does()
        if (complaints.length > 0) failure = complaints.join('\n')
      } catch (error) {
        failure = [error.message, ...complaints].join('\n')
        broken = true
        await page.screenshot({ path: `${shots}/failed.png` }).catch(() => undefined)
      }
      say({ step, seconds: (performance.now() - start) / 1000, failure })
      if (broken) break
    }
    await browser.close()
    process.exit(0)
  }

  return { page, look, run, button: (name) => page.getByRole('button', { name, exact: true }) }
}
