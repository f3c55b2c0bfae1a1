import { describe, expect, it } from 'vitest'
import { PageBook } from './paging'

function hundredPages(): PageBook {
  const book = new PageBook()
  for (let page = 0; page < 100; ++page) book.take(page === 0 ? '' : `t${page}`, 1000, page < 99 ? `t${page + 1}` : '')
  return book
}

describe('a list of 100,000 rows', () => {
  it('needs only the pages that are looked at', () => {
    const book = hundredPages()
    expect(book.length).toBe(100_000)
    expect(book.whole).toBe(true)
    expect(book.needed(0, 40)).toEqual([''])
    expect(book.needed(56_990, 57_030)).toEqual(['t56', 't57'])
    expect(book.find(57_003)).toEqual({ token: 't57', place: 3 })
    expect(book.find(100_000)).toBeUndefined()
  })
  it('begins with nothing but its first page, and reads on as its end comes near', () => {
    const book = new PageBook()
    expect(book.needed(0, 0)).toEqual([''])
    expect(book.whole).toBe(false)
    book.take('', 200, 'a')
    expect(book.needed(0, 100)).toEqual([''])
    expect(book.needed(150, 210)).toEqual(['', 'a'])
  })
  it('goes on past pages that are empty and not the last', () => {
    const book = new PageBook()
    book.take('', 0, 'a')
    expect(book.needed(0, 30)).toEqual(['a'])
    book.take('a', 0, 'b')
    book.take('b', 3, '')
    expect(book.length).toBe(3)
    expect(book.find(2)).toEqual({ token: 'b', place: 2 })
    expect(book.whole).toBe(true)
  })
  it('that changed keeps its place: the page after is read anew when it is looked at', () => {
    const book = hundredPages()
    book.take('t3', 1000, 'other')
    expect(book.length).toBe(100_000)
    expect(book.needed(4500, 4510)).toEqual(['other'])
    book.take('other', 999, 't5')
    expect(book.length).toBe(99_999)
    expect(book.find(4999)).toEqual({ token: 't5', place: 0 })
  })
  it('that became shorter ends there', () => {
    const book = hundredPages()
    book.take('t2', 5, '')
    expect(book.length).toBe(2005)
    book.take('t50', 1000, 't51')
    expect(book.length).toBe(2005)
  })
})
