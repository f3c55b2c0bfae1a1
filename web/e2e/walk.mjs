// Walks through the dashboard as an administrator would: one line of JSON for each step on standard output. After a failed step the rest, which
// builds on it, isn't tried. Usage: walk.mjs ADDRESS PASSWORD FOLDER_FOR_PICTURES
import { AxeBuilder } from '@axe-core/playwright'
import { chromium } from 'playwright-core'
import { createInterface } from 'node:readline'

const [address, password, shots] = process.argv.slice(2)
const say = (object) => process.stdout.write(`${JSON.stringify(object)}\n`)
const answers = createInterface({ input: process.stdin })[Symbol.asyncIterator]()

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

const TAGS = ['wcag2a', 'wcag2aa', 'wcag21aa', 'wcag22aa']

async function look(name) {
  await page.waitForTimeout(400) // what is loaded last has come
  await page.screenshot({ path: `${shots}/${name}.png` })
  const { violations } = await new AxeBuilder({ page }).withTags(TAGS).analyze()
  if (violations.length > 0) throw new Error(violations.map((found) => `axe: ${found.id}: ${found.nodes[0]?.html.slice(0, 200)}`).join('\n'))
}

async function ask(what) {
  say({ ask: what })
  await answers.next()
}

const button = (name) => page.getByRole('button', { name, exact: true })

const steps = {
  'sign in': async () => {
    await page.goto(`${address}/jobs?kind=backup`)
    await page.getByLabel(/User/).fill('admin')
    await page.locator('input[name=password]').fill('wrong')
    await button('Sign in').click()
    await page.getByText('User or password is wrong.').waitFor()
    await look('sign-in')
    await page.locator('input[name=password]').fill(password)
    await button('Sign in').click()
    // A deep link leads to where it points, also through the sign-in.
    await page.getByRole('heading', { name: 'Jobs' }).waitFor()
  },
  'overview before anything': async () => {
    await page.getByRole('link', { name: 'Overview' }).click()
    await page.getByText(/machines of 3 need attention|all 3 machines/).waitFor()
    await look('overview-first')
  },
  'find a machine': async () => {
    await page.getByRole('link', { name: 'Virtual machines' }).click()
    await page.getByLabel('Search machines').fill('db0')
    await page.getByText('2 in all').waitFor()
    await look('machines')
    await page.getByRole('link', { name: 'db01' }).click()
    await page.getByRole('heading', { name: 'db01' }).waitFor()
    await look('machine-first')
  },
  'back it up and watch': async () => {
    await button('Back up now').click()
    await look('backup')
    await button('Back up').click()
    await page.waitForURL(/\/jobs\//)
    await page.getByText('Done', { exact: true }).waitFor()
    await page.getByRole('heading', { name: 'Recovery points' }).waitFor()
    await look('job')
  },
  'restore it as a new machine': async () => {
    await page.getByRole('link', { name: 'Restore' }).click()
    await page.getByRole('button', { name: /^Next/ }).click()
    await page.getByLabel('Name of the new machine').fill('db01-back')
    await page.getByRole('button', { name: /^Next/ }).click()
    await page.getByText('The daemon accepts it').waitFor()
    await look('restore')
    await button('Restore').click()
    await page.waitForURL(/\/jobs\//)
    await page.getByRole('heading', { name: 'The restored machine' }).waitFor()
    await look('restored')
  },
  'hold and remove a point': async () => {
    await page.getByRole('link', { name: 'Virtual machines' }).click()
    await page.getByRole('link', { name: 'db01', exact: true }).click()
    await button('Hold').click()
    await page.getByLabel('Why, for others').fill('audit')
    await button('Hold it').click()
    await page.getByText('On hold').waitFor()
    await button('Release').click()
    await button('Release it').click()
    await page.getByText('Ready').waitFor()
    await button('Remove').click()
    await page.getByText('can then no longer be brought back to').waitFor()
    await look('remove')
    await button('Remove it').click()
    await page.getByText('Removed').waitFor()
    await button('Bring back').click()
    await page.getByText('Ready').waitFor()
    await look('machine')
  },
  'enrol, and maintenance': async () => {
    await page.goto(`${address}/hosts?enrol=1`)
    await button('Make the command').click()
    await page.getByText(/umbra-agent enrol --token/).waitFor()
    await look('enrol')
    await button('Done').click()
    await button('Maintenance').click()
    await page.getByLabel('Why, for others').fill('memory')
    await button('Begin maintenance').click()
    await page.getByText('In maintenance').waitFor()
    await look('hosts')
    await button('End maintenance').click()
    await page.getByText('Online', { exact: true }).waitFor()
  },
  policies: async () => {
    await page.goto(`${address}/policies?policy=nightly`)
    await page.getByText('Next runs').waitFor()
    await look('policies')
  },
  jobs: async () => {
    await page.goto(`${address}/jobs`)
    await page.getByText('2 in all').waitFor()
    await look('jobs')
  },
  'the daemon dies and comes back': async () => {
    await page.goto(`${address}/`)
    await page.getByText(/Yes:|No:/).waitFor()
    await look('overview')
    await ask('kill')
    await page.getByText('The connection to the daemon is lost.').waitFor()
    await page.getByText(/Yes:|No:/).waitFor() // what was known is still shown
    await look('lost')
    await ask('start')
    await page.getByText('The connection to the daemon is lost.').waitFor({ state: 'detached' })
    await page.getByText(/Yes:|No:/).waitFor()
  },
  'dark, and narrow': async () => {
    await page.getByLabel('Colours').selectOption('dark')
    await look('dark')
    await page.setViewportSize({ width: 400, height: 800 })
    await look('narrow')
  },
  'sign out': async () => {
    await page.getByRole('button', { name: /admin/i }).click()
    await page.getByText('Sign out').click()
    await page.getByLabel(/User/).waitFor()
  },
}

let broken = false
for (const [step, run] of Object.entries(steps)) {
  const start = performance.now()
  complaints = []
  let failure
  try {
    await run()
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
