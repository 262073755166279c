// The models are the source of the tables; what Atlas does not know (publication, roles, storage settings) stands in
// migrations written by hand. See README.md beside this file. Run atlas from the repository's root.

variable "url" {
  type        = string
  default     = getenv("ATLAS_URL")
  description = "The database to migrate: postgres://user:password@host:5432/database?search_path=public"
}

variable "dev_url" {
  type        = string
  default     = getenv("ATLAS_DEV_URL")
  description = "An empty throw-away database on which Atlas replays the migrations; it needs search_path too"
}

data "external_schema" "models" {
  program = [
    "atlas-provider-sqlalchemy",
    "--path", "schema/delegator_schema",
    "--dialect", "postgresql",
  ]
}

env "local" {
  src = data.external_schema.models.url
  url = var.url
  dev = var.dev_url
  migration {
    dir = "file://atlas/migrations"
    // Apart from the tables: in `public` Atlas would plan to drop its own revision table.
    revisions_schema = "delegator_revisions"
  }
  format {
    migrate {
      diff = "{{ sql . \"  \" }}"
    }
  }
}

// For `migrate apply` and `migrate status` where neither Python nor the models are installed.
env "deploy" {
  url = var.url
  migration {
    dir              = "file://atlas/migrations"
    revisions_schema = "delegator_revisions"
  }
}
