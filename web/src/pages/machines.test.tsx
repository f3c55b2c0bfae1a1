// @vitest-environment jsdom
import { fireEvent, screen, waitFor } from '@testing-library/react'
import userEvent from '@testing-library/user-event'
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest'
import { violations } from '../test/axe'
import { answers, asked, show, useFakeDaemon } from '../test/fake_daemon'
import Machines from './machines'

useFakeDaemon()

const PAGE = 200
const ALL = 100_000

beforeEach(() => {
  // The browser here has no sizes; a window of 600 pixels is enough for some rows.
  vi.spyOn(Element.prototype, 'clientHeight', 'get').mockReturnValue(600)
  vi.spyOn(Element.prototype, 'clientWidth', 'get').mockReturnValue(900)
  answers['GET /v1/hosts/-/virtualMachines'] = (path) => {
    const query = new URLSearchParams(path.split('?')[1])
    const from = Number(query.get('pageToken') || 0)
    const all = query.get('filter') ? 3 : ALL
    const rows = Array.from({ length: Math.min(PAGE, all - from) }, (_, at) => ({ name: `hosts/h/virtualMachines/${from + at}`, displayName: `vm${from + at}` }))
    return { body: { virtualMachines: rows, nextPageToken: from + PAGE < all ? String(from + PAGE) : '' } }
  }
})

afterEach(() => { vi.restoreAllMocks() })

const reads = () => asked.filter((call) => call.path.startsWith('/v1/hosts/-/virtualMachines')).map((call) => new URLSearchParams(call.path.split('?')[1]).get('pageToken'))

describe('the list of machines', () => {
  it('reads what can be seen, and on as one scrolls, each page once', async () => {
    show(<Machines />, '/machines', '/machines')
    await screen.findByText('vm0')
    expect(reads()).toEqual([''])
    expect(await violations()).toEqual([])
    const body = screen.getByRole('rowgroup')
    for (let page = 1; page < 6; ++page) {
      body.scrollTop = page * PAGE * 44 - 600
      fireEvent.scroll(body)
      await waitFor(() => expect(reads()).toContain(String(page * PAGE)))
      await screen.findByText(`${((page + 1) * PAGE).toLocaleString('en-GB')} so far; scroll for more`)
    }
    expect(new Set(reads()).size).toBe(reads().length)
    expect(screen.getAllByRole('row').length).toBeLessThan(60)
  })
  it('searches while one types, on the daemon', async () => {
    show(<Machines />, '/machines', '/machines')
    await screen.findByText('vm0')
    await userEvent.type(screen.getByLabelText('Search machines'), 'mail')
    await screen.findByText('3 in all')
    expect(asked.at(-1)?.path).toContain(`filter=${encodeURIComponent('name="*mail*"')}`)
  })
  it('says what to do when nothing fits', async () => {
    answers['GET /v1/hosts/-/virtualMachines'] = () => ({ body: {} })
    show(<Machines />, '/machines?q=nothing', '/machines')
    await screen.findByText(/No machine matches “nothing”/)
  })
})
