"""What `gendef bench` measures: the phases of sampling, beside a literal path without the short cuts."""
