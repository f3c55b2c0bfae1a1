// The browser's side of tests/bench/dashboard.py: takes one command a line on standard input, answers each with one line of JSON.
//   {"do": "load", "rounds": N}   opens the overview N times, each with an empty cache: script bytes, and ms until it says whether all is well
//   {"do": "search", "name": TEXT}  types a machine's name into the search: ms from the last key until its row is there
//   {"do": "requests"}            what a page asks the daemon for when the overview is opened: paths, without streams
//   {"do": "watch", "job": ID, "total": TEXT}   opens a job's page and notes when which progress is to be seen
//   {"do": "seen"}                [[MiB, seconds since 1970], ...]
//   {"do": "open", "pages": N}    leaves so many overviews open; {"do": "asked"}: how many requests they made since then or the last "asked"
// Usage: bench.mjs ADDRESS PASSWORD
import { chromium } from 'playwright-core'
import { createInterface } from 'node:readline'

const [address, password] = process.argv.slice(2)
const browser = await chromium.launch({ executablePath: '/usr/bin/chromium', args: ['--no-sandbox'] })

/** Signed in by hand: the session's cookie may only be set by the daemon itself. */
async function newContext() {
  const context = await browser.newContext({ ignoreHTTPSErrors: true, viewport: { width: 1280, height: 860 } })
  const page = await context.newPage()
  await page.goto(`${address}/`)
  await page.getByLabel(/User/).fill('admin')
  await page.locator('input[name=password]').fill(password)
  await page.getByRole('button', { name: 'Sign in', exact: true }).click()
  await page.getByText(/^(Yes|No):/).first().waitFor({ timeout: 60_000 })
  await page.close()
  return context
}

/** Milliseconds from the beginning of the navigation until the overview says how safe the fleet is. */
async function openOverview(page) {
  await page.addInitScript(() => {
    const look = () => {
      const said = [...document.querySelectorAll('p')].some((element) => /^(Yes|No):/.test(element.textContent ?? ''))
      if (said) window.usableAt ??= performance.now()
      else requestAnimationFrame(look)
    }
    look()
  })
  await page.goto(`${address}/`)
  await page.getByText(/^(Yes|No):/).first().waitFor({ timeout: 60_000 })
  return page.evaluate(() => new Promise((resolve) => {
    const look = () => (window.usableAt === undefined ? requestAnimationFrame(look) : resolve(window.usableAt))
    look()
  }))
}

async function load({ rounds }) {
  const times = []
  let scripts = 0
  const context = await newContext()
  for (let round = 0; round < rounds; ++round) {
    const page = await context.newPage()
    await (await context.newCDPSession(page)).send('Network.clearBrowserCache')
    times.push(await openOverview(page))
    await page.waitForTimeout(1500) // what comes after the words, such as the charts
    const of = await page.evaluate(() => performance.getEntriesByType('resource').filter((entry) => new URL(entry.name).pathname.endsWith('.js')).reduce((sum, entry) => sum + entry.encodedBodySize, 0))
    scripts = Math.max(scripts, of)
    await page.close()
  }
  await context.close()
  return { script_bytes: scripts, times_ms: times }
}

async function requests() {
  const context = await newContext()
  const page = await context.newPage()
  const paths = []
  page.on('request', (request) => {
    const url = new URL(request.url())
    if (url.pathname.startsWith('/v1/') && !url.pathname.endsWith(':watch')) paths.push(url.pathname + url.search)
  })
  await openOverview(page)
  await page.waitForTimeout(1500)
  await context.close()
  return paths
}

async function search({ name }) {
  const context = await newContext()
  const page = await context.newPage()
  await page.goto(`${address}/machines`)
  await page.getByRole('table', { name: 'Virtual machines' }).waitFor()
  await page.getByLabel('Search machines').fill(name)
  const start = performance.now()
  await page.getByRole('link', { name, exact: true }).waitFor()
  await page.getByText('1 in all').waitFor()
  const took = performance.now() - start
  await context.close()
  return took
}

let watched
async function watch({ job, total }) {
  const context = await newContext()
  watched = await context.newPage()
  await watched.addInitScript((all) => {
    window.seen = []
    const pattern = new RegExp(`(\\d+) MiB of ${all}`)
    let before = ''
    const look = () => {
      const found = pattern.exec(document.body?.textContent ?? '')?.[1] ?? ''
      if (found !== '' && found !== before) window.seen.push([Number(found), Date.now() / 1000])
      before = found
      requestAnimationFrame(look) // what is noted is what the next picture shows
    }
    look()
  }, total)
  await watched.goto(`${address}/jobs/${job}`)
  return true
}

let asked = 0
async function open({ pages }) {
  for (let i = 0; i < pages; ++i) {
    const page = await (await newContext()).newPage()
    await openOverview(page)
    page.on('request', (request) => { if (request.url().includes('/v1/')) asked += 1 })
  }
  return true
}

const commands = {
  load, search, requests, watch, open,
  seen: () => watched.evaluate(() => window.seen),
  asked: async () => { const count = asked; asked = 0; return count },
}

process.stdout.write(`${JSON.stringify({ ready: true })}\n`)
for await (const line of createInterface({ input: process.stdin })) {
  const command = JSON.parse(line)
  process.stdout.write(`${JSON.stringify(await commands[command.do](command))}\n`)
}
await browser.close()
process.exit(0)
