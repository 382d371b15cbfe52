"""Where does everything live? Every key of the library, named once.

The rule the whole example turns on: a book that the library owns is in exactly
one place at any instant. The places are STACKS, COUNTER, TROLLEY, LENT and the
hold of one ticket. Books move between them inside transactions only, so that
no crash can leave a book in two places, or in none.
"""

CATALOGUE = "library:catalogue"  # set: every book that the library owns
STACKS = "library:stacks"        # set: books on their shelf, far from the reader
COUNTER = "library:counter"      # set: the small quick shelf behind the desk
TROLLEY = "library:trolley"      # set: books on their way back to the stacks
LENT = "library:lent"            # hash: book -> the reader who has it

# Streams are to-do lists: an event is acknowledged and deleted by the
# transaction that carries it out, so what is left in a stream is work to do.
REQUESTS = "library:requests"    # reader, books: opens a ticket    -> lending
RETURNS = "library:returns"      # reader, books: opens a ticket    -> lending
FETCHES = "library:fetches"      # ticket: bring what is missing    -> shelving
FETCHED = "library:fetched"      # ticket: everything found is held -> lending
RESHELVE = "library:reshelve"    # books: take them off the trolley -> shelving
REJECTED = "library:rejected"    # events that nobody can make sense of

COUNTER_ROOM = 12                # books that the quick shelf can hold
MOST_BOOKS = 5                   # books that one reader may have at a time
KEEP_TICKETS = 24 * 3600         # seconds that a finished ticket can be asked for


def number(stream: str, event_id: str) -> str:
    """The ticket that an event opens. Two streams may hand out the same event id
    in the same millisecond, so the stream is part of the number."""
    return f"{stream.removeprefix('library:')}:{event_id}"


def ticket(number: str) -> str:
    """Hash: how far a request or return has come (state, reader, books, note, finished)."""
    return f"library:ticket:{number}"


def hold(number: str) -> str:
    """Set: the books put aside for one ticket while it is being worked on."""
    return f"library:hold:{number}"


def answer(number: str) -> str:
    """List: one element, pushed when the ticket is finished; readers wait on it."""
    return f"library:answer:{number}"


def in_hand(reader: str) -> str:
    """Counter: how many books the reader has."""
    return f"library:reader:{reader}:books"
