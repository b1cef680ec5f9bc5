-- Numbers for etags: no state of anything ever has the number of another one.
CREATE SEQUENCE versions;

CREATE TABLE publishers (
  id           text COLLATE "C" PRIMARY KEY,
  uid          uuid NOT NULL,
  display_name text NOT NULL,
  region_code  text NOT NULL,
  website      text NOT NULL,
  labels       jsonb NOT NULL,
  book_count   integer NOT NULL DEFAULT 0,
  version      bigint NOT NULL DEFAULT nextval('versions'),
  create_time  timestamptz NOT NULL DEFAULT now(),
  update_time  timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE books (
  publisher_id   text COLLATE "C" NOT NULL REFERENCES publishers,
  id             text COLLATE "C" NOT NULL,
  uid            uuid NOT NULL,
  title          text NOT NULL,
  authors        text[] NOT NULL,
  isbn           text NOT NULL,
  format         integer NOT NULL,
  page_count     integer NOT NULL,
  shelf_room     text,                -- NULL: it has no shelf
  shelf_row      integer,
  loan_period_ns bigint,              -- NULL: as usual
  labels         jsonb NOT NULL,
  annotations    jsonb NOT NULL,
  copy_count     integer NOT NULL DEFAULT 1,
  reader         text NOT NULL DEFAULT '',
  due_time       timestamptz,
  version        bigint NOT NULL DEFAULT nextval('versions'),
  create_time    timestamptz NOT NULL DEFAULT now(),
  update_time    timestamptz NOT NULL DEFAULT now(),
  PRIMARY KEY (publisher_id, id)
);

CREATE INDEX books_by_label ON books USING gin (labels jsonb_path_ops);

-- Reprints. Whoever works on one holds its lease, and renews it.
CREATE TABLE operations (
  id                uuid PRIMARY KEY,
  book              text NOT NULL,    -- publishers/P/books/B
  book_uid          uuid NOT NULL,
  copy_count        integer NOT NULL,
  printed_count     integer NOT NULL DEFAULT 0,
  done              boolean NOT NULL DEFAULT false,
  error_code        integer NOT NULL DEFAULT 0,   -- google.rpc.Code
  error_message     text NOT NULL DEFAULT '',
  response          bytea,            -- Book, where it is done and did not fail
  lease_expire_time timestamptz NOT NULL DEFAULT '-infinity',
  create_time       timestamptz NOT NULL DEFAULT now(),
  end_time          timestamptz
);

CREATE INDEX operations_to_do ON operations (create_time) WHERE NOT done;
