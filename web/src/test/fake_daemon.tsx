// A daemon for tests of pages: answers by the beginning of "METHOD /path?query", and remembers what it was asked.
import { MantineProvider } from '@mantine/core'
import { QueryClient, QueryClientProvider } from '@tanstack/react-query'
import { cleanup, configure, render } from '@testing-library/react'
import type { ReactNode } from 'react'
import { MemoryRouter, Route, Routes } from 'react-router'
import { afterEach, beforeEach, vi } from 'vitest'

export const asked: { method: string; path: string; body: unknown; header: string | null }[] = []
/** The longest key that fits answers; none: 404. */
export let answers: Record<string, (path: string) => { status?: number; body: unknown }> = {}

async function answer(input: Request): Promise<Response> {
  const url = new URL(input.url)
  const text = input.method === 'GET' ? '' : await input.clone().text()
  const path = url.pathname + url.search
  asked.push({ method: input.method, path, body: text ? JSON.parse(text) : undefined, header: input.headers.get('X-Umbra-Request') })
  const key = Object.keys(answers).filter((known) => `${input.method} ${path}`.startsWith(known)).sort((a, b) => b.length - a.length)[0]
  const { status = 200, body } = key ? answers[key]!(path) : { status: 404, body: { detail: `no such thing: ${path}`, status: 404 } }
  return new Response(JSON.stringify(body), { status, headers: { 'Content-Type': status < 400 ? 'application/json' : 'application/problem+json' } })
}

// A machine that builds something else meanwhile is slow.
configure({ asyncUtilTimeout: 8000 })

/** Once in a file: each test begins with a daemon that knows nothing but who is signed in, who may do everything. */
export function useFakeDaemon(): void {
  beforeEach(() => {
    asked.length = 0
    answers = { 'GET /v1/identity': () => ({ body: { name: 'users/admin', grants: [{ permissions: ['*'] }] } }) }
    vi.stubGlobal('fetch', answer)
    vi.stubGlobal('matchMedia', () => ({ matches: false, addEventListener: () => undefined, removeEventListener: () => undefined, addListener: () => undefined, removeListener: () => undefined }))
    vi.stubGlobal('ResizeObserver', class { observe() {} unobserve() {} disconnect() {} })
    vi.stubGlobal('EventSource', class { addEventListener() {} close() {} })
  })
  afterEach(() => {
    cleanup()
    vi.unstubAllGlobals()
  })
}

export function show(page: ReactNode, path = '/', route = '*'): void {
  const queries = new QueryClient({ defaultOptions: { queries: { retry: false } } })
  render(
    <MantineProvider withCssVariables={false} withGlobalClasses={false} env="test">
      <QueryClientProvider client={queries}>
        <MemoryRouter initialEntries={[path]}><Routes><Route path={route} element={page} /><Route path="*" element={<p>another page</p>} /></Routes></MemoryRouter>
      </QueryClientProvider>
    </MantineProvider>,
  )
}
