# Reference values for the regression tests: data.csv -> expected.json. Rscript tests/reference/make.R
suppressMessages({
  library(sandwich); library(clubSandwich); library(geepack); library(nlme); library(lme4); library(jsonlite)
})
here <- dirname(sub("^--file=", "", grep("^--file=", commandArgs(), value = TRUE)))
data <- read.csv(file.path(here, "data.csv"))
terms <- c("parameters", "tokens", "parameters:tokens")
z <- function(v) (v - mean(v)) / sd(v)
table_of <- function(estimate, se, df) {
  t <- estimate / se
  reach <- qt(0.975, df) * se
  list(estimate = unname(estimate), stderr = unname(se), df = unname(df), t = unname(t),
       p = unname(2 * pt(-abs(t), df)), low = unname(estimate - reach), high = unname(estimate + reach))
}

one <- function(rows) {
  d <- data.frame(value = z(rows$value), parameters = z(log10(rows$parameters)), tokens = z(log10(rows$tokens)),
                  model = factor(rows$model), n = rows$n, share = rows$value)
  fit <- lm(value ~ parameters * tokens, data = d)
  groups <- nlevels(d$model)
  b <- coef(fit)[terms]
  se <- function(v) sqrt(diag(v))[terms]
  out <- list(n = nrow(d), clusters = groups)
  out$ols <- table_of(b, se(vcov(fit)), rep(fit$df.residual, 3))
  out$hc3 <- table_of(b, se(vcovHC(fit, type = "HC3")), rep(fit$df.residual, 3))
  out$cluster <- table_of(b, se(vcovCL(fit, cluster = ~model, type = "HC1")), rep(groups - 1, 3))
  cr2 <- coef_test(fit, vcov = "CR2", cluster = d$model, test = "Satterthwaite")[terms, ]
  out$cr2 <- table_of(b, cr2$SE, if (is.null(cr2$df)) cr2$df_Satt else cr2$df)
  out$aic_linear <- AIC(fit)
  out$aic_quadratic <- AIC(update(fit, . ~ . + I(parameters^2) + I(tokens^2)))
  out$cooks <- max(cooks.distance(fit))

  quasi <- glm(share ~ parameters * tokens, family = quasibinomial, weights = n, data = d,
               control = glm.control(epsilon = 1e-13))
  out$quasibinomial <- table_of(coef(quasi)[terms], sqrt(diag(vcov(quasi)))[terms], rep(quasi$df.residual, 3))
  out$dispersion <- summary(quasi)$dispersion

  gee <- geeglm(value ~ parameters * tokens, id = model, data = d, corstr = "exchangeable",
                control = geese.control(epsilon = 1e-12, maxit = 200))
  rho <- unname(gee$geese$alpha)
  # (I - H)^-1 errors at that correlation: clubSandwich's CR3 of the same generalised least squares fit.
  same <- gls(value ~ parameters * tokens, data = d, correlation = corCompSymm(rho, form = ~1 | model, fixed = TRUE))
  out$gee <- list(estimate = unname(coef(gee)[terms]), alpha = rho,
                  stderr = unname(se(as.matrix(vcovCR(same, cluster = d$model, type = "CR3")))))

  mixed <- lmer(value ~ parameters * tokens + (1 + tokens | model), data = d, REML = TRUE,
                control = lmerControl(optimizer = "bobyqa", optCtrl = list(rhoend = 1e-10, maxfun = 1e5)))
  out$mixed <- list(estimate = unname(fixef(mixed)[terms]), stderr = unname(sqrt(diag(as.matrix(vcov(mixed))))[2:4]),
                    criterion = unname(REMLcrit(mixed)), singular = isSingular(mixed))
  flat <- lmer(value ~ parameters * tokens + (1 | model), data = d, REML = TRUE)
  out$intercept <- list(estimate = unname(fixef(flat)[terms]), stderr = unname(sqrt(diag(as.matrix(vcov(flat))))[2:4]))
  out
}

expected <- lapply(split(data, factor(data$task, levels = unique(data$task))), one)
p <- c(0.001, 0.2, 0.013, 0.04, 0.041, 0.8, 0.0004)
adjusted <- list(p = p, fdr_bh = p.adjust(p, "BH"), fdr_by = p.adjust(p, "BY"), holm = p.adjust(p, "holm"))
versions <- sapply(c("sandwich", "clubSandwich", "geepack", "nlme", "lme4"), function(x) as.character(packageVersion(x)))
writeLines(toJSON(list(R = R.version.string, packages = as.list(versions), tasks = expected, adjusted = adjusted),
                  digits = NA, auto_unbox = TRUE, pretty = TRUE), file.path(here, "expected.json"))
