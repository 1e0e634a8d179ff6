# The numbers in reference.json: Rscript reference.R > reference.json
# pROC 1.18.0, metafor 3.8-1, rms 6.5-0, psych 2.2.9 (Debian 12). Simulated rows in reference.csv.
suppressMessages({library(pROC); library(metafor); library(rms); library(psych)})
rows <- read.csv("reference.csv")
out <- list()
put <- function(name, value) out[[name]] <<- as.numeric(value)

# Area, DeLong's variance, interval on the logit scale, paired test
one <- roc(rows$label, rows$network, direction = "<", quiet = TRUE)
two <- roc(rows$label, rows$clinical, direction = "<", quiet = TRUE)
put("auc", auc(one)); put("auc_variance", var(one, method = "delong"))
test <- roc.test(one, two, paired = TRUE, method = "delong", conf.level = 0.95)
put("paired_z", test$statistic); put("paired_p", test$p.value); put("paired_interval", test$conf.int)
half <- qnorm(0.975) * sqrt(var(one)) / (auc(one) * (1 - auc(one)))
put("auc_logit_interval", plogis(qlogis(as.numeric(auc(one))) + c(-1, 1) * as.numeric(half)))

# Calibration: slope and Brier by rms, intercept with offset by glm, Wald intervals by glm
validated <- val.prob(rows$network, rows$label, pl = FALSE)
put("slope", validated["Slope"]); put("brier", validated["Brier"])
put("scaled_brier", 1 - validated["Brier"] / (mean(rows$label) * mean(1 - rows$label)))
put("observed_expected", sum(rows$label) / sum(rows$network))
tight <- glm.control(epsilon = 1e-14, maxit = 100)
logit <- qlogis(rows$network)
free <- glm(label ~ logit, binomial, rows, control = tight)
large <- glm(label ~ offset(logit), binomial, rows, control = tight)
put("slope_glm", coef(free)[2]); put("slope_interval", confint.default(free)[2, ])
put("intercept", coef(large)); put("intercept_interval", confint.default(large))
put("smooth", lowess(rows$network, rows$label, iter = 0, delta = 0)$y[c(1, 60, 120, 180, 240)])

# Net benefit, counted
benefit <- function(t) mean(rows$network >= t & rows$label == 1) - mean(rows$network >= t & rows$label == 0) * t / (1 - t)
put("net_benefit", sapply(c(0.1, 0.25, 0.5), benefit))
put("treat_all", sapply(c(0.1, 0.25, 0.5), function(t) mean(rows$label) - mean(1 - rows$label) * t / (1 - t)))

# Random effects of the hospitals' areas; and of the 13 BCG trials, where tau-squared is far from 0
areas <- lapply(split(rows, rows$site), function(at) roc(at$label, at$network, direction = "<", quiet = TRUE))
area <- sapply(areas, function(r) as.numeric(auc(r)))
spread <- sapply(areas, function(r) as.numeric(var(r)))
kept <- area > 0 & area < 1 & is.finite(spread) & spread > 0
effect <- qlogis(area[kept]); variance <- (spread / (area * (1 - area))^2)[kept]
put("site_logit", effect); put("site_variance", variance)
bcg <- escalc(measure = "RR", ai = tpos, bi = tneg, ci = cpos, di = cneg, data = dat.bcg)
put("bcg_effect", bcg$yi); put("bcg_variance", bcg$vi)
pooled <- function(name, yi, vi, method) {
  fit <- rma(yi, vi, method = method, test = "knha", control = list(threshold = 1e-14, maxiter = 10000))
  at <- predict(fit)
  put(name, c(fit$beta, fit$ci.lb, fit$ci.ub, at$pi.lb, at$pi.ub, fit$tau2, fit$I2 / 100))
}
for (method in c("REML", "DL")) {
  pooled(paste0("sites_", method), effect, variance, method)
  pooled(paste0("bcg_", method), as.numeric(bcg$yi), as.numeric(bcg$vi), method)
}

# Hospitals drawn with replacement: SD of the logit of the area within hospitals and of the Brier score
set.seed(1)
at_site <- split(rows, rows$site)
pairs <- sapply(at_site, function(at) sum(at$label) * sum(1 - at$label))
cases <- sapply(at_site, nrow)
errors <- sapply(at_site, function(at) sum((at$network - at$label)^2))
drawn <- replicate(20000, {
  s <- sample(length(at_site), replace = TRUE)
  c(sum(pairs[s] * area[s]) / sum(pairs[s]), sum(errors[s]) / sum(cases[s]))
})
put("bootstrap_logit_sd", apply(qlogis(drawn), 1, sd))

# Agreement
both <- cbind(rows$measured, rows$reference)
icc <- ICC(both, lmer = FALSE)$results[2, ]
put("icc", icc[c("ICC", "lower bound", "upper bound")])
difference <- rows$measured - rows$reference
put("bias_interval", c(mean(difference), t.test(difference)$conf.int))
put("limits", mean(difference) + c(-1, 1) * qnorm(0.975) * sd(difference))
put("limits_half", qt(0.975, nrow(rows) - 1) * sd(difference) * sqrt(1 / nrow(rows) + qnorm(0.975)^2 / (2 * (nrow(rows) - 1))))
r <- cor.test(rows$measured, rows$reference)
put("pearson", c(r$estimate, r$conf.int))
put("holm", p.adjust(c(0.01, 0.04, 0.03, 0.005, 0.6), "holm"))

line <- function(name) sprintf('  "%s": [%s]', name, paste(sprintf("%.15g", out[[name]]), collapse = ", "))
cat("{\n", paste(sapply(names(out), line), collapse = ",\n"), "\n}\n", sep = "")
