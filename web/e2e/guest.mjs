// What a new user does with nothing but the last lines of the quickstart: from the first sign-in to a restored machine, with real guests, and a
// failure whose advice is followed. Usage: guest.mjs ADDRESS PASSWORD FOLDER_FOR_PICTURES
import { ask, openBrowser } from './walker.mjs'

const [address, password, shots] = process.argv.slice(2)
const { page, look, run, button } = await openBrowser(address, shots)
const LONG_MS = 60_000

/** Follows a job from its page to its end. */
async function jobEnds(word) {
  await page.waitForURL(/\/jobs\//)
  await page.getByText(word, { exact: true }).first().waitFor({ timeout: LONG_MS })
}

await run({
  'first sign-in': async () => {
    await page.goto(`${address}/`)
    await page.getByLabel(/User/).fill('admin')
    await page.locator('input[name=password]').fill(password)
    await button('Sign in').click()
    await page.getByText('No virtual machine is known yet.').waitFor()
    await look('guest-empty')
  },
  'enrol the host': async () => {
    await page.getByRole('link', { name: 'Enrol a host' }).first().click()
    await button('Make the command').click()
    const command = await page.getByText(/umbra-agent enrol --token/).textContent()
    await ask(command)
    await button('Done').click()
    await page.getByText('Online', { exact: true }).last().waitFor()
    await page.getByRole('link', { name: 'Virtual machines' }).click()
    await page.getByRole('link', { name: 'db', exact: true }).waitFor({ timeout: LONG_MS })
  },
  'make a policy': async () => {
    await page.goto(`${address}/policies/new`)
    await page.getByRole('textbox', { name: /^Name/ }).fill('nightly')
    await page.getByLabel('Machines that fit').fill('name=db')
    await page.getByText('1 machine or file set now, 1 job each run').waitFor()
    await look('guest-policy')
    await button('Make the policy').click()
    await page.getByText('Next runs').waitFor()
  },
  'a real backup, live': async () => {
    await button('Run now').click()
    await page.goto(`${address}/jobs?kind=backup`)
    await page.getByRole('table', { name: 'Jobs' }).getByRole('link').first().click()
    await page.getByRole('progressbar').first().waitFor()
    await look('guest-backup')
    await jobEnds('Done')
    await page.getByRole('heading', { name: 'Recovery points' }).waitFor()
    await look('guest-done')
  },
  'restore it as a new machine': async () => {
    await page.getByRole('link', { name: 'Restore' }).first().click()
    await page.getByRole('button', { name: /^Next/ }).click()
    await page.getByLabel('Name of the new machine').fill('db-restored')
    await page.getByRole('button', { name: /^Next/ }).click()
    await page.getByText('The daemon accepts it').waitFor()
    await button('Restore').click()
    await jobEnds('Done')
    const proof = await ask('prove')
    if (proof !== 'kept') throw new Error(`the restored disk: ${proof}`)
    await look('guest-restored')
  },
  'a failure, and its advice': async () => {
    await page.getByRole('link', { name: 'Virtual machines' }).click()
    await page.getByRole('link', { name: 'mute', exact: true }).click()
    const backUp = async (more) => {
      await button('Back up now').click()
      await page.getByLabel('The machine may not be stopped, not even for a moment').check()
      if (more) await page.getByLabel(more).check()
      await button('Back up').click()
    }
    await backUp()
    await jobEnds('Failed')
    await page.getByText('What to do:').first().waitFor()
    await look('guest-failed')
    await page.goBack()
    await backUp('Accept a point in time without the guest’s help, as after a power cut')
    await page.waitForURL(/\/jobs\//)
    await page.getByText(/^Done/).first().waitFor({ timeout: LONG_MS })
    await look('guest-advice-followed')
  },
})
