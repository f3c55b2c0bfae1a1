import '@mantine/core/styles.css'
import './theme.css'
import { MantineProvider } from '@mantine/core'
import { QueryClient, QueryClientProvider } from '@tanstack/react-query'
import { createRoot } from 'react-dom/client'
import { BrowserRouter } from 'react-router'
import { passes } from './api/problem'
import { App } from './app'

const queries = new QueryClient({
  defaultOptions: {
    queries: { retry: (failures, error) => failures < 2 && passes(error), staleTime: 5000, refetchOnWindowFocus: true },
  },
})

const root = document.getElementById('root')
if (root) {
  // Neither variables nor classes are written into the page: they are in CSS files (theme.css), as the content policy wants it.
  createRoot(root).render(
    <MantineProvider defaultColorScheme="auto" withCssVariables={false} withGlobalClasses={false}>
      <QueryClientProvider client={queries}>
        <BrowserRouter><App /></BrowserRouter>
      </QueryClientProvider>
    </MantineProvider>,
  )
}
