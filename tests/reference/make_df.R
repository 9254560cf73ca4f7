# Satterthwaite degrees of freedom of the mixed model: data.csv -> expected_df.json. Rscript tests/reference/make_df.R
suppressMessages({ library(lmerTest); library(jsonlite) })
here <- dirname(sub("^--file=", "", grep("^--file=", commandArgs(), value = TRUE)))
data <- read.csv(file.path(here, "data.csv"))
terms <- c("parameters", "tokens", "parameters:tokens")
z <- function(v) (v - mean(v)) / sd(v)
exactly <- lmerControl(optimizer = "bobyqa", optCtrl = list(rhoend = 1e-10, maxfun = 1e5))
one <- function(rows) {
  d <- data.frame(value = z(rows$value), parameters = z(log10(rows$parameters)), tokens = z(log10(rows$tokens)),
                  model = factor(rows$model))
  df <- function(fit) unname(coef(summary(fit, ddf = "Satterthwaite"))[terms, "df"])
  list(mixed = df(lmer(value ~ parameters * tokens + (1 + tokens | model), data = d, control = exactly)),
       intercept = df(lmer(value ~ parameters * tokens + (1 | model), data = d, control = exactly)))
}
tasks <- lapply(split(data, factor(data$task, levels = unique(data$task))), one)
packages <- sapply(c("lme4", "lmerTest"), function(x) as.character(packageVersion(x)))
writeLines(toJSON(list(R = R.version.string, packages = as.list(packages), tasks = tasks), digits = NA,
                  auto_unbox = TRUE, pretty = TRUE), file.path(here, "expected_df.json"))
